"""Pure judgements over events, models and policy; no I/O."""

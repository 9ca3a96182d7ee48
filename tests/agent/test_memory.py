"""What a burst took is given back."""

from agent.memory import GROWN_BYTES, Memory, resident_bytes


def test_what_a_burst_took_is_given_back_though_something_of_it_stays():
    memory = Memory()
    memory.ease()
    usual = resident_bytes()
    burst = [bytes(3000) for _ in range(20_000)]
    kept = burst[::500]
    assert resident_bytes() > usual + 8 * GROWN_BYTES
    del burst
    memory.ease()
    assert resident_bytes() < usual + 4 * GROWN_BYTES
    assert len(kept) == 40
    memory.ease()

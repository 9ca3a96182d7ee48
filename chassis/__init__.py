"""What every program rides on: settings, logs, errors, servers, channels, certificates, MongoDB.

Knows no host, event or alert.
"""

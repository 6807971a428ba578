"""The contract, held against a real process by real clients."""

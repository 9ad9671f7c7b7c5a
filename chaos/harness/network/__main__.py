"""The child process that relays: `python -m quorate.chaos.harness.network`."""

from .worker import main

if __name__ == "__main__":
    main()

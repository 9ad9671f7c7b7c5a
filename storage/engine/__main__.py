"""`python -m quorate.storage.engine`: the worker process, which Worker starts."""

from .worker import main

if __name__ == "__main__":
    main()

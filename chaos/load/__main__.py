"""A client process of a load (see worker.py)."""

from .worker import main

if __name__ == "__main__":
    main()

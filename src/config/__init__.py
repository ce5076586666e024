import os
import signal
import sys

if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
    # The first process of a container gets only signals that it handles, and would miss this one while it imports.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
# Here, because every process of ours begins with this package.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

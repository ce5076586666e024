import os
import signal
import sys

if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
    # The kernel drops it if the first process of a container does not handle it, as while it imports what follows.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
# Whatever process begins here.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

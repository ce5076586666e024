import os

# Whatever process begins here.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

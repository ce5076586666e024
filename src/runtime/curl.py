"""What pycurl has no name for."""

# Bends pycurl 7.49.0: CURLOPT_QUICK_EXIT of libcurl, which lets a call end without waiting for its name look-up.
# Remove when pycurl has the name.
QUICK_EXIT = 322

"""What is collected where: the fuzzer exists for Linux on x86_64 and Python before 3.14."""

import platform
import sys

FUZZER_EXISTS = sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 14)

collect_ignore = [] if FUZZER_EXISTS else ["test_campaign.py"]

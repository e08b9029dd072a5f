"""Design 1, baseline: one request at a time, without batching.

Requests that arrive while the pipeline runs wait in order of arrival. Above capacity the waits grow up to the limits of
`policies/admission.py`.
"""

from policies.batching import SizeOrAge
from servers.batched import Batched
from servers.settings import Settings

SETTINGS = Settings


def create(settings: Settings) -> Batched:
    """The design with its settings; nothing is loaded yet: batches of one, each submitted when the last has ended."""
    return Batched(settings, SizeOrAge(max_batch_size=1, max_wait_s=0.0), max_batch_size=1, is_ahead=False)

"""Whether a model of a hub can be had: asked once and briefly, before anything is downloaded."""

from __future__ import annotations

import threading

PATIENCE = 5.0  # seconds for the hub's first answer
LIMIT = 8.0  # seconds in all; looking up a name that no server answers for has no other limit


def reach(name: str) -> dict[str, bool]:
    """The options that `from_pretrained` needs for a hub id: none where the hub has it, else to use the copy at hand.

    One request is made. Raises ValueError, within `LIMIT` seconds, where the hub does not answer, or does not give the
    model, and no copy of it is in the hub's cache.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    why = _refusal(name)
    if why is None:
        return {}
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return {"local_files_only": True}
    raise ValueError(
        f"policy could not be loaded from {name!r}: {constants.ENDPOINT} {why}, and no copy is in "
        f"{constants.HF_HUB_CACHE!r}; name a folder, or make a model by `toykit pretrain --config qwen3-1m TASK`"
    )


def _refusal(name: str) -> str | None:
    """What keeps the hub from giving a model, None where it gives it."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    found: list[str | None] = []

    def ask() -> None:
        try:
            get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=PATIENCE)
            found.append(None)
        except Exception as error:  # of the client that this version of the library uses
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            answered = getattr(error, "response", None) is not None
            found.append(f"does not give it ({said})" if answered else f"cannot be reached ({said})")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(LIMIT)
    return found[0] if found else f"gave no answer in {LIMIT:g} seconds"

"""Commands on a state directory: ``status``, ``rollback``, ``verify`` and the like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from streamnet.cli.options import integer_option

Folder = Annotated[str, Parameter(name="DIR", help="State directory, or its URL in a bucket.")]
_DIFFERENT_EXIT_CODE = 1
_MAX_NAMES = 5  # of values that differ


def status(folder: Folder, /) -> int:
    """Show the status of a state directory: position, generations, model and limits.

    That of a run with owners shows these: which partitions each of them has, with their samples and
    keys, the score of what was served, samples before the last checkpoint, and its age.
    """
    from streamnet.cli.views.fleet import show_fleet
    from streamnet.cli.views.state import show_state
    from streamnet.durability.bucket import open_state
    from streamnet.runs.fleet_status import read_status

    if (fleet := read_status(folder)) is not None:
        show_fleet(fleet, folder)
        return 0
    with open_state(folder) as (path, _):
        show_state(path, folder)
    return 0


def rollback(
    folder: Folder,
    generation: Annotated[
        int, integer_option("Number of the generation; see status.", metavar="GENERATION")
    ],
    /,
) -> int:
    """Make the next run resume from an earlier generation, under a new lineage."""
    from streamnet.cli.terminal import Terminal
    from streamnet.durability.bucket import open_state
    from streamnet.pipeline.maintenance import roll_back

    with open_state(folder) as (path, files):
        number = roll_back(path, generation, files=files)
    Terminal().say(
        f"generation {generation} was copied to generation {number}; the next run resumes there"
    )
    return 0


def verify(
    folder: Folder,
    generation: Annotated[
        int | None,
        integer_option("Number of the generation; default the newest.", metavar="GENERATION"),
    ] = None,
    /,
) -> int:
    """Learn the same files again, up to a generation, and compare every bit of the state."""
    import anyio

    from streamnet.cli.terminal import Terminal, escape_text, write_error
    from streamnet.cli.views.tables import format_count
    from streamnet.durability.bucket import open_state
    from streamnet.runs.replay import verify as verify_state

    with open_state(folder) as (path, _):
        result = anyio.run(verify_state, path, generation)
    what = f"generation {result.generation}, after {format_count(result.samples, 'sample')}"
    if not result.differences:
        Terminal().say(f"{what}: bit-identical")
        return 0
    names = escape_text(", ".join(result.differences[:_MAX_NAMES]))
    message = f"{what}, differs in {format_count(len(result.differences), 'value')}: {names}"
    if result.versions:
        versions = "; ".join(result.versions)
        message += f" (versions differ from those that learned it, so bits may, too: {versions})"
    write_error(message)
    return _DIFFERENT_EXIT_CODE


def classes(
    action: Annotated[
        Literal["merge", "retire"],
        Parameter(
            help="merge: read LABEL as INTO from then on. retire: give the class no probability, "
            "and reject samples with its label."
        ),
    ],
    folder: Folder,
    label: Annotated[str, Parameter(metavar="LABEL", help="Label of the class.")],
    into: Annotated[
        str | None, Parameter(metavar="INTO", help="Label of the class that it is merged into.")
    ] = None,
    /,
) -> int:
    """Merge or retire a class of a stopped run, before the first sample of the next one."""
    from streamnet.cli.terminal import Terminal, escape_text
    from streamnet.durability.bucket import open_state
    from streamnet.errors import ConfigurationError
    from streamnet.pipeline.maintenance import change_classes
    from streamnet.samples import ClassChange

    if (into is None) is (action == "merge"):
        problem = "missing, but merge needs another class"
        if into is not None:
            problem = f"{into!r}, but retire has no other class"
        raise ConfigurationError(f"INTO is {problem}")
    with open_state(folder) as (path, files):
        number = change_classes(path, change := ClassChange(label, into), files=files)
    words = escape_text(change.describe())
    Terminal().say(f"{words} in generation {number}, from which the next run resumes")
    return 0


def keys(
    action: Annotated[
        Literal["list", "show", "forget", "export"],
        Parameter(
            help="list: one line for each key. show: everything about one key. forget: delete the "
            "models of keys before the next sample. export: write the model of one key."
        ),
    ],
    folder: Folder,
    /,
    *key: Annotated[
        str, Parameter(name="KEY", help="A key; values of several columns are joined by |.")
    ],
    to: Annotated[
        Path | None,
        Parameter(metavar="FILE", help="File that export writes, .safetensors or .json."),
    ] = None,
) -> int:
    """List, show, forget or export the models of keys in a state directory.

    The newest checkpoint is read, also while the run goes on; keys can be forgotten while it is
    stopped, and are new if they come again. An exported model predicts each sample as the next one
    of its key, see streamnet predict.
    """
    from streamnet.cli.terminal import Terminal, escape_text
    from streamnet.cli.views.keys import list_keys, show_key
    from streamnet.cli.views.tables import format_count
    from streamnet.durability.bucket import open_state
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.errors import ConfigurationError
    from streamnet.modelfiles.formats import SUFFIXES
    from streamnet.pipeline.maintenance import forget_keys
    from streamnet.runs.fleet_status import read_status
    from streamnet.runs.keys import StoredKeys

    if action == "list" and key:
        raise ConfigurationError(f"KEY is {key[0]!r}, but list shows all of them")
    if action != "list" and not key:
        raise ConfigurationError(f"KEY is missing: which key is there to {action}?")
    if action in ("show", "export") and len(key) > 1:
        raise ConfigurationError(f"KEY is given {len(key)} times, but {action} takes one")
    if (to is None) is (action == "export"):
        problem = "missing, but export needs it" if to is None else f"given, but {action} has none"
        raise ConfigurationError(f"--to is {problem}")
    if read_status(folder) is not None:
        raise ConfigurationError(
            f"DIR is {folder!r}, but must be the state of a single partition: {folder} is that of "
            f"a run with owners, and has {folder.rstrip('/')}/partition-0 and so on"
        )
    with open_state(folder) as (path, files):
        if action == "list":
            list_keys(StoredKeys(path))
        elif action == "show":
            show_key(StoredKeys(path), key[0])
        elif action == "forget":
            number = forget_keys(path, key, files=files)
            what = f"{format_count(len(key), 'key')} forgotten"
            Terminal().say(f"{what} in generation {number}, from which the next run resumes")
        elif to is not None:
            check_output_paths([OutputPath("to", to, tuple(SUFFIXES), replaced=True)], {})
            StoredKeys(path).build_model(key[0]).save(to)
            Terminal().say(f"the model of key {escape_text(key[0])!r} was written to {to}")
    return 0


def dead_letters(
    action: Annotated[
        Literal["list", "show", "replay"],
        Parameter(
            help="list: one line for each record. show: everything about one record. replay: write "
            "the records to a file as they were, to be corrected and learned like any other file."
        ),
    ],
    folder: Folder,
    number: Annotated[
        int | None, integer_option("The record to show, from 1.", metavar="NUMBER")
    ] = None,
    /,
    *,
    to: Annotated[
        Path | None, Parameter(metavar="FILE", help="File that replay writes; it must not exist.")
    ] = None,
) -> int:
    """List or show rejected records, or write them to a file so that they can be learned."""
    from streamnet.cli.views.state import list_dead_letters, show_dead_letter, write_dead_letters
    from streamnet.durability.bucket import open_state

    with open_state(folder) as (path, _):
        if action == "list":
            list_dead_letters(path)
        elif action == "show":
            show_dead_letter(path, number)
        else:
            write_dead_letters(path, to)
    return 0

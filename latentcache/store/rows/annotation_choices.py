"""Which file of each annotation a snapshot serves, by the rule that chooses among commits."""

from collections.abc import Mapping, Sequence

from latentcache.storage import Folder
from latentcache.store.format.records import AnnotationEntry, Generation
from latentcache.store.format.write_check import object_sha256
from latentcache.store.rows.annotations import AnnotationFile, list_annotations, open_file


def choose_annotations(
    folder: Folder,
    generations: Sequence[Generation],
    parent: Mapping[str, tuple[AnnotationEntry, ...]],
) -> dict[str, tuple[AnnotationEntry, ...]]:
    """Return one file for each annotation and generation that has any.

    The parent's file is kept unless there is a higher rev; else the highest rev serves, and
    of two files of one rev the one with the lower write id. Only files that the parent
    does not name are read.
    """
    known = {entry.name: entry for entries in parent.values() for entry in entries}
    chosen: dict[tuple[str, int], tuple[AnnotationFile, AnnotationEntry]] = {}
    # Better files come later, so that each takes the place of a worse one.
    ranked = sorted(list_annotations(folder), key=lambda file: file.write_id, reverse=True)
    for file in sorted(ranked, key=lambda file: (file.rev, file.name in known)):
        entry = known.get(file.name) or _entry(folder, generations, file)
        if entry is not None:
            chosen[file.annotation, entry.generation] = file, entry
    found: dict[str, tuple[AnnotationEntry, ...]] = {}
    for (annotation, _), (_, entry) in sorted(chosen.items(), key=lambda item: item[0]):
        found[annotation] = (*found.get(annotation, ()), entry)
    return found


def _entry(
    folder: Folder, generations: Sequence[Generation], file: AnnotationFile
) -> AnnotationEntry | None:
    found = open_file(folder, generations, file)
    info = folder.stat(file.name)
    if info is None or found is None:
        return None
    return AnnotationEntry(
        name=file.name,
        size_bytes=info.size_bytes,
        sha256=object_sha256(folder, file.name),
        generation=found.generation,
    )

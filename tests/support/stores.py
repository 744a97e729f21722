"""Chunk stores from rows that a test has cut itself."""

from data.rows import class_frames, polyphony
from data.store import Manifest, Split, index_entry, write_index, write_manifest, write_shard


def publish(root, contents, settings=None):
    """A store of `contents`: split -> the rows of each shard, which are whole recordings."""
    splits, index = {}, {}
    for name, parts in contents.items():
        rows = [row for part in parts for row in part]
        shards = tuple(write_shard(str(root), name, part) for part in parts)
        index[name] = [(shard, [index_entry(row) for row in part]) for shard, part in zip(shards, parts, strict=True)]
        starts = [row for row in rows if row["start_frame"] == 0]
        splits[name] = Split(
            clips=len(starts),
            clips_without_video=sum(not row["has_video"] for row in starts),
            hours=sum(row["num_frames"] for row in rows) / 36_000,
            rooms=tuple(sorted({row["room"] for row in rows})),
            class_frames=tuple(class_frames(rows)),
            polyphony=tuple(polyphony(rows)),
            shards=shards,
        )
    return write_manifest(str(root), Manifest("synthetic", settings or {}, splits, write_index(str(root), index)))

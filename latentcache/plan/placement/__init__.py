"""From scanned media to buckets, shards and rows."""

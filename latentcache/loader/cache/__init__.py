"""A bounded cache of remote shards, shared by a machine's processes."""

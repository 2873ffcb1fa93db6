"""Rows of Parquet, JSONL and CSV tables, in bounded memory."""

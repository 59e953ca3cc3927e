"""The RQ worker: warm pipelines, one job at a time, and what watches over it."""

"""Pure functions, DataFrames or arrays in and out: everything that is computed, and no reading or writing.

No Dagster, no boto3, no Delta, no LanceDB, no settings: parameters come in as arguments.
"""

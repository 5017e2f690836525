"""Storage and contracts: what the tables are, where they live, and how they are read and written.

The lowest layer: it imports no other layer of this repository. Importing it starts no Spark session,
opens no connection and reads no secret.
"""

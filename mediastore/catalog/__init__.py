"""All that is SQL: the pool and its translation door, migrations, named queries, a module per table
family.
"""

"""Resumable uploads as the IETF draft has them (draft-ietf-httpbis-resumable-upload).

The wire of every version is data in `dialects`; the rules are in `creation` and `resource`.
docs/ietf.md names, for each MUST and SHOULD of the draft, the test that holds it.
"""

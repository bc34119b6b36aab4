"""The REST API: `/api/v1`, one noun a file in `routes/`.

The contract of a file of `routes/`: it has `router`, an APIRouter whose paths begin with its noun, and needs no mention
elsewhere, since `app.py` includes every file of the folder. A route says which scope a key needs (`access.require`), reads
and writes through `search.service` and `db`, answers with documents of `search.documents`, and lets errors pass:
`errors.py` makes problem details of them (RFC 9457). What a client sends is looked at by `search.inward` before it is parsed.
"""

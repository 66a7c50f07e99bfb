-- name: blob_digests_find
SELECT algorithm, digest FROM blob_digests WHERE blob = $1 ORDER BY algorithm;

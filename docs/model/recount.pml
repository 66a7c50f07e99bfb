/* The recount of INV-7: a reference that is counted wrongly costs space, never a byte.
 *
 * One hash that two uploads reference. A bug, planted here, takes one reference too many from its count, once, at
 * any moment; so its key may be doomed while somebody still needs it. A pass reads upload_chunks, the manifests one
 * after the other, and unlinking, while everything goes on. A standby that lacks the last commit may become the
 * primary, once. Each `atomic` is one SQL function, that is one transaction, one statement of the pass, or one call
 * of the store. README.md says how to read this.
 */

#define UPLOADS 2
#define GENERATIONS 3 /* 0 is none */
#define PASSES 2

/* Where an upload's reference to the hash is. */
#define NOWHERE 0
#define UPLOAD_CHUNKS 1
#define MANIFEST 2
#define UNLINKING 3

/* --- the database, and as it was one transaction ago --------------------------------------------- */

typedef Database {
    byte generation;             /* chunks.generation of the hash's one row; 0: there is no row */
    byte refs;
    bool stored;
    byte reference[UPLOADS];
    bool acknowledged[UPLOADS];  /* ghost: told to a client by a commit that is in here */
    bool doomed[GENERATIONS];
    bool kept[GENERATIONS];      /* doomed.kept_by_recount names the newest finished pass */
    bool quarantined;
    byte started;                /* recounts: the newest pass that has begun */
    byte finished;               /* and the newest that is complete: */
    bool seen_doomed[GENERATIONS]; /* what its snapshot saw doomed, */
    bool met                     /* and recount_kept, whether it met a reference to the hash */
};
Database db;
Database standby;
Database nothing;
bool under_way;                  /* a pass is */
bool failed_over;
bool throughout[UPLOADS];        /* ghost: the reference has been there since the pass began */

byte generations;                /* new_generation(): random there, counted here */

/* --- the chunk store --------------------------------------------------------------------------- */

bool bytes[GENERATIONS];

/* --- what must always be true ------------------------------------------------------------------ */

#define SOMEWHERE (bytes[1] || bytes[2])
#define NEEDS(u) (db.acknowledged[u] && (db.reference[u] == UPLOAD_CHUNKS || db.reference[u] == MANIFEST))
/* INV-7: a bug in counting costs space, not bytes. */
#define BYTES_ARE_THERE (SOMEWHERE || !(NEEDS(0) || NEEDS(1)))
/* INV-7: a pass has met every reference that was there from its beginning to its end. */
#define EVERYTHING_MET (met || !(throughout[0] || throughout[1]) \
    || !((saw_doomed[1] && db.doomed[1]) || (saw_doomed[2] && db.doomed[2])))

proctype Watcher() {
end:
    atomic {
        !BYTES_ARE_THERE -> assert(BYTES_ARE_THERE)
    }
}

/* --- transactions ------------------------------------------------------------------------------ */

inline copy(to, from) {
    to.generation = from.generation; to.refs = from.refs; to.stored = from.stored;
    to.reference[0] = from.reference[0]; to.reference[1] = from.reference[1];
    to.acknowledged[0] = from.acknowledged[0]; to.acknowledged[1] = from.acknowledged[1];
    to.doomed[1] = from.doomed[1]; to.doomed[2] = from.doomed[2];
    to.kept[1] = from.kept[1]; to.kept[2] = from.kept[2];
    to.quarantined = from.quarantined; to.started = from.started; to.finished = from.finished;
    to.seen_doomed[1] = from.seen_doomed[1]; to.seen_doomed[2] = from.seen_doomed[2]; to.met = from.met
}

/* Begins every transaction that changes something: the standby has everything before it. Only while a pass is under
 * way: what a failover means to everybody else is in upload.pml and restore.pml. */
inline remember() {
    if :: under_way && !failed_over -> copy(standby, db) :: else fi
}

inline doom() {
    db.doomed[db.generation] = true; db.generation = 0; db.refs = 0; db.stored = false
}

/* references_release_v3, an entry. What does not fit is quarantined, and never counted down from then on. That the key
 * of a hash without a row waits anew is in erasure.pml. */
inline release_reference(u) {
    db.reference[u] = NOWHERE; throughout[u] = false;
    if
    :: db.generation == 0 -> db.quarantined = true
    :: db.generation != 0 && db.quarantined
    :: db.generation != 0 && !db.quarantined && db.refs == 1 -> doom()
    :: db.generation != 0 && !db.quarantined && db.refs > 1 -> db.refs--
    fi
}

/* upload_intent_v1. */
inline intend() {
    atomic {
        remember();
        db.reference[u] = UPLOAD_CHUNKS;
        if
        :: db.generation == 0 -> generations++; db.generation = generations; db.refs = 1; db.stored = false
        :: else -> db.refs++
        fi;
        saw = db.generation; puts = !db.stored
    }
}

/* upload_commit_v2 and upload_stored_v1: the chunk is still of the generation that the intent saw (INV-2). */
inline commit() {
    atomic {
        if
        :: db.reference[u] != UPLOAD_CHUNKS -> goto ended /* MS001, MS900 */
        :: else -> skip
        fi;
#ifdef WITHOUT_GENERATION_AT_COMMIT
        changed = !(db.generation != 0 && (puts || db.stored));
#else
        changed = !(db.generation == saw && (puts || db.stored));
#endif
        if
        :: changed -> skip /* MS006 */
        :: else -> remember(); db.stored = true; db.acknowledged[u] = true
        fi
    }
}

/* upload_finish_v1: the reference moves, all stored or not at all. */
inline finish() {
    atomic {
        if
        :: db.reference[u] == UPLOAD_CHUNKS && db.acknowledged[u] && db.stored ->
            remember(); db.reference[u] = MANIFEST
        :: else
        fi
    }
}

/* --- who acts ---------------------------------------------------------------------------------- */

proctype Uploader(byte u) {
    byte saw; bool puts; bool changed;

    intend();
    if
    :: puts -> bytes[saw] = true
    :: else
    fi;
    commit();
    if
    :: changed -> goto ended /* back to the intent: in chunk.pml */
    :: else -> finish()
    fi;
ended:
    skip
}

/* The upload is ended, or its object deleted and its blob removed: the reference is on its way out. */
proctype Deleter(byte u) {
    atomic {
        db.reference[u] == UPLOAD_CHUNKS || db.reference[u] == MANIFEST ->
        remember(); db.reference[u] = UNLINKING; db.acknowledged[u] = false
    }
}

proctype Releaser() {
end:
    do
    :: atomic { db.reference[0] == UNLINKING -> remember(); release_reference(0) }
    :: atomic { db.reference[1] == UNLINKING -> remember(); release_reference(1) }
    od
}

/* The planted bug: one reference too many is taken from the count. */
proctype Miscount() {
    atomic {
        db.generation != 0 ->
        remember();
        if
        :: db.refs == 1 -> doom()
        :: else -> db.refs--
        fi
    }
}

/* mediastore_gc/recount.py. A reference moves from upload_chunks to a manifest to unlinking, never back: so does
 * the pass. `filter` is the Bloom filter of doomed hashes. */
inline load_filter() {
    atomic { filter = db.doomed[1] || db.doomed[2] }
}
inline begin_pass() {
    atomic {
        under_way = true; remember(); pass++; db.started = pass; moved = failed_over;
        saw_doomed[1] = db.doomed[1]; saw_doomed[2] = db.doomed[2];
        throughout[0] = db.reference[0] != NOWHERE; throughout[1] = db.reference[1] != NOWHERE
    }
}
inline meet(condition) {
    atomic { if :: filter && (condition) -> met = true :: else fi }
}
inline read_upload_chunks() {
    meet(db.reference[0] == UPLOAD_CHUNKS || db.reference[1] == UPLOAD_CHUNKS)
}
inline read_manifests() {
    meet(db.reference[0] == MANIFEST);
    meet(db.reference[1] == MANIFEST)
}
inline read_unlinking() {
    meet(db.reference[0] == UNLINKING || db.reference[1] == UNLINKING)
}

proctype Recounter() {
    byte pass; bool filter; bool met; bool saw_doomed[GENERATIONS]; bool moved;
end:
    do
    :: pass == PASSES -> break
    :: pass < PASSES && (db.doomed[1] || db.doomed[2]) ->
#ifdef WITHOUT_SNAPSHOT_BEFORE_FILTER
        load_filter(); begin_pass();
#else
        begin_pass(); load_filter();
#endif
#ifdef WITHOUT_ORDER_OF_READING
        read_unlinking(); read_manifests(); read_upload_chunks();
#else
        read_upload_chunks(); read_manifests(); read_unlinking();
#endif
        atomic { /* recount_finish: the pass's own row is still there, and it was one server that was read */
            if
#ifdef WITHOUT_ONE_SERVER
            :: db.started == pass ->
#else
            :: db.started == pass && moved == failed_over ->
#endif
                remember(); db.finished = pass; db.met = met;
                db.seen_doomed[1] = saw_doomed[1]; db.seen_doomed[2] = saw_doomed[2];
                db.kept[1] = false; db.kept[2] = false;
                assert(EVERYTHING_MET);
#ifdef SEEN_KEPT_BY_THE_SECOND_PASS
                assert(!(pass == PASSES && met && db.generation != 0))
#endif
            :: else
            fi;
            under_way = false; copy(standby, nothing);
            filter = false; met = false; moved = false; saw_doomed[1] = false; saw_doomed[2] = false;
            throughout[0] = false; throughout[1] = false
        }
    od
}

#ifdef WITHOUT_RECOUNT
#define CLEARED(key) true
#define MET false
#else
#ifdef WITHOUT_SNAPSHOT_AT_CLAIM
#define CLEARED(key) (db.finished != 0)
#else
#define CLEARED(key) (db.finished != 0 && db.seen_doomed[key])
#endif
#define MET db.met
#endif
#ifdef WITHOUT_STORED_AT_CLAIM
#define ANOTHER_COPY (db.generation != 0)
#else
#define ANOTHER_COPY (db.generation != 0 && db.stored)
#endif
/* The recovery window, as much of it as matters here: what a failover loses is younger. restore.pml has the rest. */
#define PAST_WINDOW(key) (!under_way || failed_over || standby.doomed[key])

/* doomed_claim_v1, DeleteObjects and doomed_forget_v1 at once: what comes between them is in chunk.pml. */
proctype Deletes(byte key) {
end:
    do
    :: atomic {
        db.doomed[key] && PAST_WINDOW(key) && CLEARED(key) && !db.kept[key] ->
        assert(db.generation != key); /* INV-3, asked by the claim itself */
        remember();
        if
        :: MET && !ANOTHER_COPY -> db.kept[key] = true
        :: else -> bytes[key] = false; db.doomed[key] = false
        fi
       }
    od
}

/* A standby that lacks the last commit becomes the primary. */
proctype Failover() {
    atomic { under_way -> failed_over = true; copy(db, standby); copy(standby, nothing) }
}

init {
    atomic {
        run Watcher(); run Uploader(0); run Uploader(1); run Deleter(0); run Deleter(1); run Releaser();
        run Miscount(); run Recounter(); run Deletes(1); run Deletes(2); run Failover()
    }
}

/* One chunk of which two uploads bring the bytes: intent, PUT, commit, deletion, collection, healing.
 *
 * A crash may come between any two steps. A PUT whose client died may land at any time later, and so may a
 * delete whose answer never came. Nothing waits for the recovery window here: without a restore of the database
 * the order of the steps alone must keep every byte. restore.pml has the window, recount.pml the miscounts.
 * Each `atomic` is one SQL function, that is one transaction, or one call of the store. README.md says how to
 * read this.
 */

#define UPLOADS 2
#define GENERATIONS 5 /* 0 is none */
#define INTENTS_MAX 2 /* ATTEMPTS_MAX in batch.py is 5; one change is all that can come here */

/* --- the database ------------------------------------------------------------------------------ */

byte generation;              /* chunks.generation of the one row; 0: there is no row */
byte refs;
bool stored;
bool damaged;
bool references[UPLOADS];     /* a row of upload_chunks or an entry of a manifest */
byte unlinking;               /* entries on their way out, which still count */
bool doomed[GENERATIONS];
bool claimed[GENERATIONS];

byte generations;             /* new_generation(): random there, counted here */

/* --- the chunk store --------------------------------------------------------------------------- */

mtype = { ABSENT, GOOD, BAD };
mtype bytes[GENERATIONS] = ABSENT;
bool put_under_way[GENERATIONS];    /* sent by a process that has died: lands some day */
bool delete_under_way[GENERATIONS]; /* sent by a collector that had no answer: lands some day */

/* --- ghosts ------------------------------------------------------------------------------------ */

bool begun[UPLOADS];
bool acknowledged[UPLOADS];
bool unlucky[UPLOADS];        /* the store lost bytes after this upload had begun: not our doing */
bool was_put[GENERATIONS];
bool was_doomed[GENERATIONS];
bool store_lost_bytes;

/* --- what must always be true ------------------------------------------------------------------ */

#define KEPT(u) (!acknowledged[u] || unlucky[u] || (generation != 0 && stored && bytes[generation] == GOOD))
/* INV-1: what was acknowledged is in a stored chunk. */
#define ACKNOWLEDGED_IS_STORED (KEPT(0) && KEPT(1))
/* INV-2: a row is stored only after the PUT of that hash and generation. */
#define STORED_WAS_PUT (!stored || was_put[generation])
/* INV-3: no key comes back that was ever doomed. */
#define NEVER_BACK (generation == 0 || !was_doomed[generation])
/* INV-4: refs is the number of references, and a row has some. */
#define EXACT (generation == 0 -> (references[0] + references[1] + unlinking == 0) \
    : (refs > 0 && refs == references[0] + references[1] + unlinking))

proctype Watcher() {
end:
    atomic {
        !(ACKNOWLEDGED_IS_STORED && STORED_WAS_PUT && NEVER_BACK && EXACT) ->
        assert(ACKNOWLEDGED_IS_STORED);
        assert(STORED_WAS_PUT);
        assert(NEVER_BACK);
        assert(EXACT)
    }
}

/* --- transactions ------------------------------------------------------------------------------ */

/* upload_intent_v1, body_begin_v1: an earlier intent of the same upload is released, the row inserted or its refs
 * raised (upload_reference_v1). The intent learns what the row was like. */
inline intend() {
    atomic {
        if :: references[u] -> references[u] = false; unlinking++ :: else fi;
        references[u] = true;
        if
        :: generation == 0 ->
            refs = 1; damaged = false;
#ifdef WITHOUT_NEW_GENERATION
            /* The doomed row is taken back, carefully: only while it is unclaimed. */
            if
            :: generations > 0 && doomed[generations] && !claimed[generations] ->
                generation = generations; doomed[generations] = false; stored = was_put[generations]
            :: else -> generations++; generation = generations; stored = false
            fi
#else
            generations++; generation = generations; stored = false
#endif
        :: else -> refs++
        fi;
        saw = generation;
#ifdef WITHOUT_DAMAGED_BEING_NO_HIT
        puts = !stored;
#else
        puts = !stored || damaged;
#endif
        looks = stored && damaged;
#ifdef WITHOUT_PUT_BEFORE_STORED
        stored = true
#endif
    }
}

/* upload_commit_v2 and upload_stored_v1. The upload must still have its rows; its chunk must still be of the
 * generation that the intent saw, and stored and undamaged if it was not PUT just now (INV-2). */
inline commit() {
    atomic {
        if
        :: !references[u] -> goto ended /* MS001: dropped meanwhile */
        :: else ->
            if
            :: generation == saw && puts -> stored = true; damaged = false; changed = false
#ifdef WITHOUT_DAMAGE_CHECK_AT_COMMIT
            :: generation == saw && !puts && stored -> changed = false
            :: !(generation == saw && (puts || stored)) -> changed = true
#else
            :: generation == saw && !puts && stored && !damaged -> changed = false
            :: !(generation == saw && (puts || (stored && !damaged))) -> changed = true
#endif
            fi;
            if
            :: changed -> skip /* MS006: back to the intent */
            :: else ->
                acknowledged[u] = true;
#ifdef SEEN_HEALED
                assert(!(store_lost_bytes && puts && bytes[saw] == GOOD && !was_doomed[1]));
#endif
#ifdef SEEN_UPLOADED_AGAIN_AFTER_DELETE
                assert(!(was_doomed[1] && bytes[1] == ABSENT));
#endif
                /* Damage that nobody has met yet cannot be known. */
                if :: bytes[generation] != GOOD && !damaged && !puts && store_lost_bytes -> unlucky[u] = true :: else fi
            fi
        fi
    }
}

/* --- who acts ---------------------------------------------------------------------------------- */

/* Uploads and finishes: what becomes of its references between upload and manifest changes no count. */
proctype Uploader(byte u) {
    byte saw; byte intents; bool puts; bool looks; bool changed;

    begun[u] = true;
    do
    :: intents == INTENTS_MAX ->
        assert(false); /* one damage sends a batch back once: the second intent heals it */
        goto ended
    :: else ->
        intents++;
        intend();
        if /* batch.py, _put: a copy that was marked may be good after all */
        :: looks ->
            if
            :: bytes[saw] == GOOD -> goto has_put
            :: else
            fi
        :: else
        fi;
        if
        :: puts ->
            if
            :: atomic { bytes[saw] = GOOD; was_put[saw] = true }
            :: put_under_way[saw] = true; goto ended /* a crash in the middle */
            fi
        :: else
        fi;
has_put:
        if
        :: commit()
        :: goto ended /* a crash */
        fi;
        if
        :: changed
        :: else -> goto ended
        fi
    od;
ended:
    skip
}

/* The user deletes the object, or the upload expires or is ended: at any time, or never.
 * upload_drop_some_v1, trash_purge_v1 and garbage_remove_v1: the reference goes to unlinking. */
proctype Deleter(byte u) {
    atomic {
        references[u] ->
        references[u] = false; unlinking++; acknowledged[u] = false
    }
}

/* references_release_v3: the transaction that takes the last reference removes the row and dooms its key. */
inline release_reference() {
    unlinking--; refs--;
    if
    :: refs == 0 ->
        doomed[generation] = true; was_doomed[generation] = true;
        generation = 0; stored = false; damaged = false
    :: else
    fi
}

proctype Releaser() {
#ifdef WITHOUT_ROWS_FIRST
    byte last;
end:
    do
    :: atomic { unlinking > 0 && refs > 1 -> release_reference() }
    :: atomic { unlinking > 0 && refs == 1 -> last = generation };
        bytes[last] = ABSENT; /* the bytes first, then the row */
        atomic { release_reference() }
    od
#else
end:
    do
    :: atomic { unlinking > 0 -> release_reference() }
    od
#endif
}

/* doomed_claim_v1, DeleteObjects, doomed_forget_v1 or doomed_refused_v1, key by key. */
proctype Deletes(byte key) {
end:
    do
    :: atomic { doomed[key] && !claimed[key] -> claimed[key] = true };
        assert(generation != key); /* the claim's own check of INV-3 */
        if
        :: bytes[key] = ABSENT; atomic { doomed[key] = false; claimed[key] = false }
        :: delete_under_way[key] = true; claimed[key] = false /* the store is said to be down: refused */
        :: delete_under_way[key] = true; break                /* a crash: a claim that times out */
        fi
    od
}

/* What was sent by those who died, or did not wait, lands. */
proctype Late() {
    byte key = 1;
end:
    do
    :: key < GENERATIONS - 1 -> key++
    :: atomic {
        put_under_way[key] ->
        put_under_way[key] = false; bytes[key] = GOOD; was_put[key] = true;
#ifdef SEEN_LATE_PUT_ON_A_DELETED_KEY
        assert(!was_doomed[key] || doomed[key])
#endif
       }
    :: atomic { delete_under_way[key] -> delete_under_way[key] = false; bytes[key] = ABSENT }
    od
}

/* The store damages a copy, once; later a reader meets that and marks it (chunk_mark_damaged). */
proctype Damage() {
    byte key;
    atomic {
        generation != 0 && stored && bytes[generation] == GOOD ->
        key = generation; bytes[key] = BAD; store_lost_bytes = true;
        unlucky[0] = begun[0]; unlucky[1] = begun[1]
    };
    atomic {
        generation == key && stored && !damaged -> damaged = true
    }
}

init {
    atomic {
        run Watcher(); run Uploader(0); run Uploader(1); run Deleter(0); run Deleter(1);
        run Releaser(); run Deletes(1); run Deletes(2); run Late(); run Damage()
    }
}

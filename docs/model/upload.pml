/* One upload and everybody who writes to it: takeover, overlapping batches, lost answers, failover.
 *
 * The content is two bytes. It can be cut into the chunks [0,1) and [1,2), or into the one chunk
 * [0,2): the end of a request ends a chunk, so two requests cut the same bytes differently.
 * Each `atomic` is one SQL function, that is one transaction, or one PUT. README.md says how to read this.
 */

#define LENGTH 2
#define FIRST 0  /* the chunk [0,1) */
#define SECOND 1 /* the chunk [1,2) */
#define BOTH 2   /* the chunk [0,2) */
#define NONE 3

/* --- the database ------------------------------------------------------------------------------ */

byte epoch;                     /* uploads.epoch: who may write */
byte offset;                    /* uploads.offset: what is acknowledged */
bool finished;                  /* the upload's row is gone, its object is there */
byte row[LENGTH] = NONE;        /* upload_chunks: the chunk whose row begins at this offset */
byte writer[LENGTH];            /* ghost: the epoch of whom wrote that row */
bool stored[3];                 /* chunks.stored */

/* The database as it was one transaction ago: what a standby has that lacks the last commit. */
byte old_epoch; byte old_offset; bool old_finished;
byte old_row[LENGTH] = NONE; byte old_writer[LENGTH]; bool old_stored[3];

/* --- the chunk store --------------------------------------------------------------------------- */

bool put[3];                    /* a PUT of this chunk has returned */

byte epochs;                    /* new_epoch(): random there, counted here */

/* --- which guards there are -------------------------------------------------------------------- */

#ifdef WITHOUT_EPOCH_AT_INTENT
#define EPOCH_AT_INTENT true
#else
#define EPOCH_AT_INTENT (epoch == mine)
#endif
#ifdef WITHOUT_OFFSET_AT_INTENT
#define OFFSET_AT_INTENT true
#else
#define OFFSET_AT_INTENT (offset == at)
#endif
#ifdef WITHOUT_EPOCH_AT_COMMIT
#define EPOCH_AT_COMMIT true
#else
#define EPOCH_AT_COMMIT (epoch == mine)
#endif
#ifdef WITHOUT_OFFSET_AT_COMMIT
#define OFFSET_AT_COMMIT true
#else
#define OFFSET_AT_COMMIT (offset == at)
#endif

/* --- what must always be true ------------------------------------------------------------------ */

#define SIZE(chunk) (chunk == NONE -> 0 : (chunk == BOTH -> 2 : 1))
#define IN_ROW(o, chunk) (row[o] == chunk && stored[chunk])

/* INV-1: every acknowledged byte is in a stored chunk that the upload references. */
#define ACKNOWLEDGED_IS_STORED (offset == 0 \
    || (offset == 1 && IN_ROW(0, FIRST)) \
    || (offset == 2 && (IN_ROW(0, BOTH) || (IN_ROW(0, FIRST) && IN_ROW(1, SECOND)))))
/* INV-2: what is stored has been PUT. */
#define STORED_IS_PUT ((!stored[FIRST] || put[FIRST]) && (!stored[SECOND] || put[SECOND]) && (!stored[BOTH] || put[BOTH]))
/* INV-8: rows past the offset are of the body of the epoch's holder. */
#define PAST_IS_OURS ((offset > 0 || row[0] == NONE || writer[0] == epoch) && (offset > 1 || row[1] == NONE || writer[1] == epoch))

proctype Watcher() {
end:
    atomic {
        !finished && !(ACKNOWLEDGED_IS_STORED && STORED_IS_PUT && PAST_IS_OURS) ->
        assert(ACKNOWLEDGED_IS_STORED);
        assert(STORED_IS_PUT);
        assert(PAST_IS_OURS)
    }
}

/* --- transactions ------------------------------------------------------------------------------ */

/* Begins every transaction that will change something. */
inline remember() {
    old_epoch = epoch; old_offset = offset; old_finished = finished;
    old_row[0] = row[0]; old_row[1] = row[1]; old_writer[0] = writer[0]; old_writer[1] = writer[1];
    old_stored[FIRST] = stored[FIRST]; old_stored[SECOND] = stored[SECOND]; old_stored[BOTH] = stored[BOTH]
}

/* upload_release_v1: rows at and past an offset. */
inline release(from) {
    if :: from == 0 -> row[0] = NONE; writer[0] = 0 :: else fi;
    if :: from <= 1 -> row[1] = NONE; writer[1] = 0 :: else fi
}

/* upload_take_v2: a new epoch, and the offset as it stands. */
inline take() {
    atomic {
        if
        :: finished -> goto ended
        :: else -> remember();
#ifndef WITHOUT_RELEASE_ON_TAKEOVER
            release(offset);
#endif
            epochs++; mine = epochs; epoch = mine; at = offset
        fi
    }
}

/* upload_intent_v1 (begins == at) and staged_intent_v1 (a batch behind one that is under way). */
inline intend(begins, first_chunk, second_chunk) {
    atomic {
        if
        :: finished || !EPOCH_AT_INTENT || !OFFSET_AT_INTENT -> goto ended /* MS001, MS002, MS003 */
        :: else ->
            if /* staged_intent_v1: what is there ends exactly where this batch begins (MS900) */
            :: begins > at && SIZE(row[0]) != begins -> goto ended
            :: else
            fi;
            remember(); release(begins);
            row[begins] = first_chunk; writer[begins] = mine;
            if :: second_chunk != NONE -> row[1] = second_chunk; writer[1] = mine :: else fi
        fi
    }
}

/* upload_commit_v2: the rows of this batch, and no others, have its size; its chunks are stored now. */
inline commit(first_chunk, second_chunk) {
    atomic {
        if
        :: finished || !EPOCH_AT_COMMIT || !OFFSET_AT_COMMIT -> goto ended
        :: else ->
            if
            :: at == 0 && size == 1 -> held = SIZE(row[0])
            :: at == 0 && size == 2 -> held = SIZE(row[0]) + SIZE(row[1])
            :: at == 1 -> held = SIZE(row[1])
            fi;
            if :: held != size -> goto ended :: else fi;
            remember();
            stored[first_chunk] = true;
            if :: second_chunk != NONE -> stored[second_chunk] = true :: else fi;
            assert(at + size >= offset); /* an offset never decreases */
            offset = at + size
        fi;
        held = 0
    }
}

/* staged_release_v1: a body that breaks off gives up what is not acknowledged. */
inline give_up() {
    atomic {
        if
        :: finished || !EPOCH_AT_INTENT || !OFFSET_AT_INTENT -> goto ended
        :: else -> remember(); release(at)
        fi
    }
}

/* upload_finish_v1 and upload_become_object_v1: no gap from 0 to the length, all stored. Whoever holds
 * the epoch and knows the offset is never refused: that would be an upload that nobody can finish. */
inline finish() {
    atomic {
        if
        :: finished || epoch != mine || offset != at -> goto ended
        :: else ->
            assert(ACKNOWLEDGED_IS_STORED);
            assert(SIZE(row[0]) + SIZE(row[1]) == at);
            remember(); finished = true;
#ifdef SEEN_FINISHED_BY_THE_LAST_OF_THREE
            assert(mine < 3)
#endif
        fi
    }
}

/* --- who acts ---------------------------------------------------------------------------------- */

/* A request that brings content from the offset on, cut in any way, in one batch or in two that overlap. It may
 * die between any two steps. When the answer to a commit is lost, it gives up what it thinks is not acknowledged,
 * or writes its intent again: the code does only the first, the functions are made to bear both. */
proctype Request() {
    byte mine; byte at; byte held; byte size; bool ahead; bool unsure;

    take();
    do
    :: at == 0 -> /* a batch of one small chunk, and maybe the next one on its way behind it */
        intend(0, FIRST, NONE);
        if
        :: intend(1, SECOND, NONE); ahead = true
        :: skip
        fi;
        put[FIRST] = true;
        size = 1; commit(FIRST, NONE);
        goto committed
    :: at == 0 -> /* a batch of two small chunks */
        intend(0, FIRST, SECOND);
        put[FIRST] = true;
        put[SECOND] = true;
        size = 2; commit(FIRST, SECOND);
        goto committed
    :: at == 0 -> /* a batch of one large chunk */
        intend(0, BOTH, NONE);
        put[BOTH] = true;
        size = 2; commit(BOTH, NONE);
        goto committed
    :: at == 1 ->
        if
        :: ahead -> ahead = false
        :: else -> intend(1, SECOND, NONE)
        fi;
        put[SECOND] = true;
        size = 1; commit(SECOND, NONE);
        goto committed
    :: at > 0 && !ahead && !unsure -> finish(); goto ended /* the client says that this is all */
    :: goto ended /* a crash, or a client that went away */

committed:
        if
        :: at = at + size; unsure = false
        :: unsure = true; ahead = false /* the answer is lost */
        :: give_up(); goto ended
        fi;
        size = 0
    od;
ended:
    skip
}

/* A standby that lacks the last commit becomes the primary. */
proctype Failover() {
    atomic {
        epoch = old_epoch; offset = old_offset; finished = old_finished;
        row[0] = old_row[0]; row[1] = old_row[1]; writer[0] = old_writer[0]; writer[1] = old_writer[1];
        stored[FIRST] = old_stored[FIRST]; stored[SECOND] = old_stored[SECOND]; stored[BOTH] = old_stored[BOTH];
#ifdef SEEN_COMMIT_LOST
        assert(!(put[SECOND] && offset == 1))
#endif
    }
}

init {
    atomic { run Watcher(); run Request(); run Request(); run Request(); run Failover() }
}

/* Readers of one chunk while its copy is damaged, healed, replaced and deleted (INV-9).
 *
 * Two readers in a process whose cache they share, and which fetches a chunk once for both. A GET
 * brings a chunk in two pieces, and the copy may change between them; it may also be damaged on its way, once. An
 * upload of the same bytes meets the mark that readers leave, and heals. The chunk may be collected and uploaded
 * again, under another key, behind a reader's manifest.
 * Each `atomic` is one SQL statement, one call of the store, or what a process does without waiting. README.md says how
 * to read this.
 */

#define GENERATIONS 3 /* 0 is none */
#define READS_MAX 2   /* of one reader */
#define INTENTS_MAX 3

mtype = { ABSENT, GOOD, BAD };

/* --- the database: the hash's one row ------------------------------------------------------------ */

byte generation = 1;
bool damaged;                 /* damaged_at */

/* --- the chunk store, each copy in two pieces ----------------------------------------------------- */

mtype head[GENERATIONS] = ABSENT;
mtype tail[GENERATIONS] = ABSENT;

/* --- the process that reads ----------------------------------------------------------------- */

bool cached;
mtype cached_head = ABSENT;
mtype cached_tail = ABSENT;
bool flying;                  /* chunks.py: one fetch at a time, whose readers wait for it */

/* --- ghosts ------------------------------------------------------------------------------------ */

bool was_bad[GENERATIONS];    /* the store's own copy was bad, or gone, at some time */
bool met_bad[GENERATIONS];    /* a reader has been sure of it, and nobody has healed it since */
bool lost_on_the_way;         /* a GET was damaged on its way */
bool healed;

/* --- what must always be true ------------------------------------------------------------------ */

/* Only what is bad is marked: a mark makes readers wait for an upload that may never come. */
#define MARKED_WAS_BAD (!damaged || was_bad[generation])

proctype Watcher() {
end:
    atomic { !MARKED_WAS_BAD -> assert(MARKED_WAS_BAD) }
}

/* --- reading ------------------------------------------------------------------------------------ */

inline get_piece(into, from) {
    atomic {
        if
        :: into = from
        :: !lost_on_the_way && from == GOOD -> lost_on_the_way = true; into = BAD
        fi
    }
}

/* INV-9, where a byte leaves: all of its chunk is as its hash says. */
#define VERIFIED (got_head == GOOD && got_tail == GOOD)
inline send() {
    assert(VERIFIED); /* the first piece */
    assert(VERIFIED)  /* the second; the client may have gone in between, which is no concern of this */
}

#ifdef WITHOUT_HASH_CHECK
#define HAS_ITS_HASH (got_head != ABSENT && got_tail != ABSENT) /* it has its length */
#else
#define HAS_ITS_HASH VERIFIED
#endif
#define IS_MISSING (got_head == ABSENT || got_tail == ABSENT)

/* chunk_mark_damaged: that copy, if it is still the row's. */
inline mark() {
    atomic {
        met_bad[place] = true;
#ifdef WITHOUT_MARK
        skip
#else
#ifdef WITHOUT_GENERATION_OF_MARK
        damaged = true
#else
        if :: generation == place -> damaged = true :: else fi
#endif
#endif
    }
}

inline keep() {
    atomic { cached = true; cached_head = got_head; cached_tail = got_tail }
}

/* delivery/fetching.py: VerifiedStore.get; delivery/reader.py asks again with a fresh manifest when a copy is missing. */
proctype Reader() {
    byte reads; byte place; bool again; bool fresh; mtype got_head = ABSENT; mtype got_tail = ABSENT;
end:
    do
    :: reads == READS_MAX -> break
    :: reads < READS_MAX && cached ->
        atomic {
            if
            :: cached -> got_head = cached_head; got_tail = cached_tail
            :: else -> goto next /* it was evicted */
            fi
        };
        send();
        goto next
    :: atomic { reads < READS_MAX && !cached && !flying -> flying = true };
        place = generation;
fetch:
        get_piece(got_head, head[place]);
#ifdef WITHOUT_WHOLE_CHUNK
        if :: got_head == GOOD -> send() :: else fi; /* it is on its way already */
#endif
        get_piece(got_tail, tail[place]);
#ifdef WITHOUT_CHECK_BEFORE_CACHE
        if :: !IS_MISSING -> keep() :: else fi;
#endif
        if
        :: HAS_ITS_HASH -> keep(); atomic { flying = false }; send()
        :: !HAS_ITS_HASH && IS_MISSING && !fresh ->
            atomic { fresh = true; again = false; place = generation }; goto fetch
#ifdef WITHOUT_SECOND_READ
        :: !HAS_ITS_HASH && !(IS_MISSING && !fresh) ->
#else
        :: !HAS_ITS_HASH && !IS_MISSING && !again -> again = true; goto fetch
        :: !HAS_ITS_HASH && (IS_MISSING -> fresh : again) ->
#endif
            mark(); atomic { flying = false } /* the answer ends before this chunk */
        fi;
next:
        atomic { reads++; place = 0; again = false; fresh = false; got_head = ABSENT; got_tail = ABSENT }
    od
}

proctype Evict() {
end:
    do
    :: atomic { cached -> cached = false; cached_head = ABSENT; cached_tail = ABSENT }
    od
}

/* --- what happens to the copy -------------------------------------------------------------------- */

/* The store damages a piece of a copy, or loses it, once. */
proctype Damage() {
    if
    :: atomic { head[generation] == GOOD -> head[generation] = BAD; was_bad[generation] = true }
    :: atomic { tail[generation] == GOOD -> tail[generation] = BAD; was_bad[generation] = true }
    :: atomic {
        head[generation] == GOOD ->
        head[generation] = ABSENT; tail[generation] = ABSENT; was_bad[generation] = true
       }
    fi
}

/* An upload of the same bytes (uploads/batch.py): a hit, or what is marked is looked at and PUT again in place. */
proctype Uploader() {
    byte intents; byte saw; bool puts; mtype seen_head = ABSENT; mtype seen_tail = ABSENT;
end:
    do
    :: intents == INTENTS_MAX -> break
    :: intents < INTENTS_MAX ->
        atomic { intents++; saw = generation; puts = damaged };
        if
        :: puts ->
            seen_head = head[saw];
            seen_tail = tail[saw];
            if
            :: seen_head == GOOD && seen_tail == GOOD
            :: else -> atomic { head[saw] = GOOD; tail[saw] = GOOD }
            fi
        :: else
        fi;
        atomic { /* upload_commit_v2 */
            if
            :: generation == saw && puts -> damaged = false; met_bad[saw] = false; healed = true; break
            :: generation == saw && !puts && !damaged ->
                assert(!met_bad[saw]); /* INV-2: acknowledged, on a copy that is known to be bad */
                break
            :: else
            fi;
            seen_head = ABSENT; seen_tail = ABSENT
        }
    od
}

/* Everybody deletes it, and somebody uploads it again, while the older key waits, and goes. */
proctype Replace() {
    head[2] = GOOD; tail[2] = GOOD;
    atomic { generation = 2; damaged = false };
    atomic { head[1] = ABSENT; tail[1] = ABSENT; was_bad[1] = true }
}

#ifdef SEEN_READ_AFTER_HEALING
#define SEEN (healed && was_bad[1] && cached)
#else
#ifdef SEEN_DAMAGED_ON_THE_WAY_ONLY
#define SEEN (lost_on_the_way && cached && !was_bad[1])
#else
#define SEEN false
#endif
#endif
proctype Seen() {
end:
    atomic { SEEN -> assert(!SEEN) }
}

init {
    atomic {
        head[1] = GOOD; tail[1] = GOOD;
        run Watcher(); run Seen(); run Reader(); run Reader(); run Evict(); run Damage();
        run Uploader(); run Replace()
    }
}

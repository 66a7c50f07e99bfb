/* Legal erasure: past trash, revive delay and recovery window, never past a recount, a hold or the marker.
 *
 * One chunk. Two objects lead to it, by a blob each or by one that they share: the first is to be erased, the second is
 * somebody else's, who may delete it. A bug, planted here, takes one reference too many from its count, once. Somebody
 * may hold one of the objects, and the database may be restored, once, to how it was at the end of the hour before:
 * that is inside the recovery window, so the second object has its bytes if it had them then (INV-6), and the first is
 * erased again. Everybody may stall, for ever, between any two steps.
 * Each `atomic` is one SQL function, that is one transaction, one statement of the pass, or one call of the store.
 * README.md says how to read this.
 */

#define WINDOW 1             /* recovery_window_seconds; the margin and clocks that are off are in restore.pml */
#define LAST_HOUR 2
#define PASSES 2

/* Where a blob's reference to the chunk is. */
#define NOWHERE 0
#define MANIFEST 1
#define UNLINKING 2

/* How far the erasure is: a row of erasures, its recorded_at, removed_at, marked_at, finished_at. */
#define UNKNOWN 0
#define ASKED 1
#define RECORDED 2
#define REMOVED 3
#define MARKED 4
#define FINISHED 5

/* --- the database, as it is and as it was at the end of the hour before ------------------------- */

typedef Database {
    bool first;              /* the object that is to be erased is there, */
    bool second;             /* and the one of somebody else */
    byte remembered;         /* purged_objects: when the second went; 0: it has not, or is forgotten */
    bool held_first;         /* holds */
    bool held_second;
    byte reference[2];       /* of each one's blob; one that they share is the first's */
    byte tombstone;          /* when a blob went by the ordinary way; 0: none did, or it is forgotten */
    bool erased_tombstone;   /* a blob was erased */
    byte refs;               /* chunks.refs; 0: there is no row */
    bool doomed;
    byte since;
    byte stamp;              /* doomed.transaction: how many passes had begun by then */
    bool waited_for;         /* doomed.erasure, erased_other_keys: the erasure is not over before this key is */
    bool marked;             /* doomed.erased_at */
    bool claimed;
    byte kept;               /* doomed.kept_by_recount */
    byte erasure;
    bool shared;             /* erased_shared_chunks */
    byte counter;            /* gc_state.batch_counter */
    bool reconciled;         /* gc_state.incarnation is the one that `reconcile` has begun */
    byte pass;               /* recounts: the newest complete pass of this incarnation, */
    bool met                 /* and its recount_kept */
};
Database db;
Database before;
Database nothing;
byte hour = 1;
bool one_blob;               /* both objects have the same content */

/* --- the chunk store --------------------------------------------------------------------------- */

bool bytes = true;
bool record;                 /* _mediastore/erasures/ID */
byte marker_counter;         /* _mediastore/collector */
bool marker_reconciled;

/* --- ghosts ------------------------------------------------------------------------------------ */

byte passes;                 /* have begun, in any life of the database */
bool removed;                /* something of what is to be erased has left a database */
bool restored;

/* --- what must always be true ------------------------------------------------------------------ */

/* INV-6, INV-7: what is not erased reads back, whatever was miscounted and restored; so does what is held. */
#define OTHERS_ARE_THERE (bytes || !(db.second || db.held_second))
/* A hold keeps what was to be erased, and nothing goes before that is recorded. */
#define HELD_IS_THERE (db.first || !db.held_first)
#define NOT_YET_IS_THERE (bytes || !db.first || removed)
/* Whoever has reconciled knows what was erased. */
#define ERASED_AGAIN (!removed || !db.reconciled || db.erasure != UNKNOWN)

proctype Watcher() {
end:
    atomic {
        !(OTHERS_ARE_THERE && HELD_IS_THERE && NOT_YET_IS_THERE && ERASED_AGAIN) ->
        assert(OTHERS_ARE_THERE);
        assert(HELD_IS_THERE);
        assert(NOT_YET_IS_THERE);
        assert(ERASED_AGAIN)
    }
}

inline copy(to, from) {
    to.first = from.first; to.second = from.second; to.remembered = from.remembered;
    to.held_first = from.held_first; to.held_second = from.held_second;
    to.reference[0] = from.reference[0]; to.reference[1] = from.reference[1];
    to.tombstone = from.tombstone; to.erased_tombstone = from.erased_tombstone;
    to.refs = from.refs; to.doomed = from.doomed; to.since = from.since; to.stamp = from.stamp;
    to.waited_for = from.waited_for; to.marked = from.marked; to.claimed = from.claimed; to.kept = from.kept;
    to.erasure = from.erasure; to.shared = from.shared; to.counter = from.counter; to.reconciled = from.reconciled;
    to.pass = from.pass; to.met = from.met
}

/* --- everybody's rows go ------------------------------------------------------------------------- */

inline doom() {
    db.refs = 0; db.doomed = true; db.since = hour; db.stamp = passes
}

/* references_release_v3. A reference without a row was miscounted: the window of its key begins with the last one. */
inline release_reference(blob) {
    db.reference[blob] = NOWHERE;
    if
#ifdef WITHOUT_WINDOW_AFTER_THE_LAST_REFERENCE
    :: db.refs == 0
#else
    :: db.refs == 0 && db.doomed && !db.claimed -> db.since = hour; db.stamp = passes
    :: db.refs == 0 && !(db.doomed && !db.claimed)
#endif
    :: db.refs == 1 -> doom()
    :: db.refs > 1 -> db.refs--
    fi
}

/* trash_purge_v4, garbage_remove_v3 and the release, after any delay. */
proctype Ordinary() {
end:
    do
    :: atomic { db.second && !db.held_second -> db.second = false; db.remembered = hour }
    :: atomic {
        !one_blob && db.reference[1] == MANIFEST && !db.second && !db.held_second ->
        db.reference[1] = UNLINKING; db.tombstone = hour
       }
    :: atomic {
        one_blob && db.reference[0] == MANIFEST && !db.first && !db.second && !db.held_second ->
        db.reference[0] = UNLINKING; db.tombstone = hour
       }
    :: atomic { db.reference[0] == UNLINKING -> release_reference(0) }
    :: atomic { db.reference[1] == UNLINKING -> release_reference(1) }
    od
}

/* Time passes, and what no restore brings back any more is forgotten (tombstones_sweep_v1, purged_objects_sweep_v1). */
#define OVER(moment) (moment + WINDOW <= hour)
proctype Time() {
end:
    do
    :: atomic {
        hour < LAST_HOUR ->
        if :: restored :: else -> copy(before, db) fi;
        hour++;
        if :: db.tombstone != 0 && OVER(db.tombstone) -> db.tombstone = 0 :: else fi;
        if :: db.remembered != 0 && OVER(db.remembered) && !db.held_second -> db.remembered = 0 :: else fi
       }
    od
}

/* hold_add: also of what is only remembered, unless a worker has claimed its key. */
#define STILL_THERE (db.refs > 0 || (db.doomed && !db.claimed))
proctype Holder() {
    if
    :: atomic { !restored && db.first -> db.held_first = true }
    :: atomic { !restored && (db.second || (db.remembered != 0 && STILL_THERE)) -> db.held_second = true }
    fi
}

/* The planted bug: one reference too many is taken from the count. */
proctype Miscount() {
    atomic {
        db.refs > 0 ->
        if
        :: db.refs == 1 -> doom()
        :: else -> db.refs--
        fi
    }
}

/* --- the erasure --------------------------------------------------------------------------------- */

/* erasure_add_v1: counted up as a claim is. */
proctype Operator() {
    atomic { db.first && !db.held_first && !restored -> db.erasure = ASKED; db.counter++ }
}

#ifdef WITHOUT_RECORD_FIRST
#define RECORDED_FIRST (db.erasure == ASKED || db.erasure == RECORDED)
#else
#define RECORDED_FIRST (db.erasure == RECORDED)
#endif
#ifdef WITHOUT_HOLD_AT_REMOVAL
#define NOT_HELD true
#else
#define NOT_HELD !db.held_first
#endif
#ifdef WITHOUT_REMEMBERED_OBJECTS
#define SOMEBODY_ELSES (one_blob && db.second)
#else
#define SOMEBODY_ELSES (one_blob && (db.second || db.remembered != 0))
#endif
#ifdef WITHOUT_RELEASE_BEFORE_MARK
#define RELEASED true
#else
#define RELEASED (db.reference[0] != UNLINKING)
#endif

/* gc/mediastore_gc/erasing.py: any collector takes any of these steps. */
proctype Eraser() {
    byte counter; bool mine;
end:
    do
    :: db.erasure == ASKED -> /* Eraser.record */
        atomic { counter = db.counter; mine = db.reconciled };
        record = true;
#ifndef WITHOUT_MARKER_RAISED
        atomic {
            if
            :: marker_reconciled != mine -> goto next
            :: else -> if :: marker_counter < counter -> marker_counter = counter :: else fi
            fi
        };
#endif
        atomic { if :: db.erasure == ASKED -> db.erasure = RECORDED :: else fi };
next:
        atomic { counter = 0; mine = false }
    :: atomic { /* erase_objects_v2, erase_blobs_v1, erasure_removed_v1 */
        RECORDED_FIRST && NOT_HELD ->
        db.erasure = REMOVED; removed = true;
        if
        :: db.first && SOMEBODY_ELSES -> db.first = false
        :: db.first && !SOMEBODY_ELSES ->
            db.first = false; db.reference[0] = UNLINKING; db.erased_tombstone = true
        :: else
        fi;
#ifdef SEEN_ERASED_AGAIN
        assert(!(db.reconciled && db.erased_tombstone && !bytes))
#endif
       }
    :: atomic { /* erasure_mark_v2 */
        db.erasure == REMOVED && RELEASED ->
        db.erasure = MARKED; db.shared = db.reference[1] != NOWHERE;
        if
        :: db.erased_tombstone && db.doomed && !db.claimed ->
            db.waited_for = true; db.marked = true;
#ifndef WITHOUT_MARK_BEFORE_PASS
            db.stamp = passes
#endif
#ifndef WITHOUT_WAITING_FOR_OTHERS_KEYS
        :: db.erased_tombstone && db.doomed && db.claimed -> db.waited_for = true
#endif
        :: else
        fi
       }
    :: atomic { /* erasures_finish: the receipt says that it is gone, or somebody else's */
        db.erasure == MARKED && !(db.doomed && db.waited_for) ->
        db.erasure = FINISHED;
        assert(!bytes || db.shared || !db.erased_tombstone)
       }
    od
}

/* --- the pass that it waits for ------------------------------------------------------------------ */

/* gc/mediastore_gc/recount.py; its snapshot and the order of its reading are in recount.pml. */
inline read_references() {
    atomic { met = db.reference[0] == MANIFEST || db.reference[1] == MANIFEST };
    atomic { met = met || db.reference[0] == UNLINKING || db.reference[1] == UNLINKING }
}
inline read_tombstones() { /* recount_spare_v1 */
#ifdef WITHOUT_TOMBSTONES
    skip
#else
    atomic { if :: db.tombstone != 0 && !OVER(db.tombstone) -> db.marked = false :: else fi }
#endif
}

proctype Recounter() {
    byte pass; bool met; bool moved;
end:
    do
    :: passes < PASSES && db.doomed ->
        atomic { passes++; pass = passes; moved = restored };
        read_references(); read_tombstones();
        atomic { /* recount_finish, of the server that it began on */
            if
            :: moved == restored -> db.pass = pass; db.met = met
            :: else
            fi;
            pass = 0; met = false; moved = false
        }
    od
}

/* --- and the claim ------------------------------------------------------------------------------- */

#ifdef WITHOUT_RECOUNT
#define CLEARED true
#define MET false
#else
#define CLEARED (db.pass != 0 && db.stamp < db.pass && db.kept != db.pass)
#define MET db.met
#endif
#ifdef WITHOUT_HOLD_AT_CLAIM
#define KEY_IS_FREE true
#else
#define KEY_IS_FREE !db.held_second
#endif
#define MAY_GO (db.doomed && !db.claimed && (OVER(db.since) || db.marked) && CLEARED && KEY_IS_FREE)

/* doomed_claim_v3 and deleting.py; what its claim, marker and incarnation are for is in chunk.pml and restore.pml. */
proctype Collector() {
    byte said; bool mine; byte counter; bool unnoticed;
end:
    do
    :: db.doomed || restored ->
        atomic { /* marker.py, checked_marker */
            said = marker_counter; mine = marker_reconciled; unnoticed = removed && db.erasure == UNKNOWN
        };
        atomic {
            if
            :: db.reconciled != mine -> goto next
#ifndef WITHOUT_COUNTER_CHECK
            :: db.reconciled == mine && db.counter < said -> goto next
            :: db.reconciled == mine && db.counter >= said ->
#else
            :: db.reconciled == mine ->
#endif
                /* A database that does not know what was erased is noticed. */
                assert(!(unnoticed && removed && db.erasure == UNKNOWN))
            fi
        };
        atomic {
            if
            :: db.reconciled == mine && MAY_GO ->
                if
                :: MET -> db.kept = db.pass; goto next
                :: else -> db.claimed = true; db.counter++; counter = db.counter
                fi
            :: else -> goto next
            fi
        };
        atomic {
            if
            :: marker_reconciled != mine -> goto next
            :: else -> if :: marker_counter < counter -> marker_counter = counter :: else fi
            fi
        };
        atomic {
            bytes = false;
#ifdef SEEN_ERASED_BEFORE_THE_WINDOW
            assert(!(db.claimed && db.marked && !OVER(db.since)));
#endif
#ifdef SEEN_SPARED_AND_DELETED_LATER
            assert(!(db.claimed && db.waited_for && !db.marked && OVER(db.since)));
#endif
        };
        atomic { /* doomed_forget_v1 */
            if
            :: db.doomed && db.claimed ->
                db.doomed = false; db.claimed = false; db.since = 0; db.stamp = 0; db.kept = 0; db.marked = false;
                db.waited_for = false
            :: else
            fi
        };
next:
        atomic { said = 0; mine = false; counter = 0; unnoticed = false }
    od
}

/* --- a restore ----------------------------------------------------------------------------------- */

proctype Restore() {
    atomic { hour > 1 -> restored = true; copy(db, before); copy(before, nothing) }
}

/* gc/mediastore_gc/reconcile.py --apply: fence, take_up_again, the check (restore.pml), reconcile_install. */
proctype Reconcile() {
    byte counter;
    restored;
    atomic {
        counter = (marker_counter > db.counter -> marker_counter : db.counter);
        marker_reconciled = true; marker_counter = counter
    };
#ifndef WITHOUT_TAKING_UP_AGAIN
    atomic { if :: record && db.erasure == UNKNOWN -> db.erasure = RECORDED; db.counter++ :: else fi };
#endif
    atomic {
        db.reconciled = true; db.claimed = false; db.pass = 0; db.stamp = passes;
        if :: db.counter < counter -> db.counter = counter :: else fi
    }
}

init {
    atomic {
        db.first = true; db.second = true; db.reference[0] = MANIFEST;
        if
        :: one_blob = true; db.refs = 1
        :: db.reference[1] = MANIFEST; db.refs = 2
        fi;
        run Watcher(); run Time(); run Ordinary(); run Holder(); run Miscount(); run Operator(); run Eraser();
        run Recounter(); run Collector(); run Restore(); run Reconcile()
    }
}

/* A restore of the database to an earlier moment: the recovery window, the claim, the marker, the incarnation.
 *
 * One key. Its row goes, it is doomed, waits, is claimed by one of two collectors, and its bytes are deleted; any
 * collector may stall for as long as it likes, or for ever, between any two steps. At any moment the database may be
 * restored to how it was at the end of an earlier hour: inside the recovery window, where every row must have its
 * bytes (INV-6) whatever collectors of before are still at; or outside of it, where what is gone must be noticed, and
 * after `reconcile` every row that is not marked must have its bytes. The database's clock may be an hour off.
 * Each `atomic` is one SQL function, that is one transaction, or one call of the store. README.md says how to read
 * this.
 */

#define LAST_HOUR 6
#define RESTORES 1
#define BATCHES 1            /* of one collector */
#define SKEW 1               /* clock_skew_max_seconds */
#ifdef WITHOUT_WINDOW
#define WINDOW_KEPT 0
#else
#define WINDOW_KEPT WINDOW
#endif
#define WINDOW 1             /* recovery_window_seconds */
#ifdef WITHOUT_MARGIN
#define MARGIN 0
#else
#define MARGIN (2 * SKEW)    /* recovery_margin_seconds: at least twice the skew */
#endif

/* --- the database, as it is and as it was at the end of each hour -------------------------------- */

typedef Database {
    bool row;                /* chunks has the hash with this key's generation, stored */
    bool marked;             /* damaged_at: no dedup hit, healed by the next upload */
    byte unlinked;           /* when its last reference went to unlinking; 0: it has not */
    bool doomed;
    byte since;              /* doomed.since */
    bool claimed;
    byte counter;            /* gc_state.batch_counter */
    byte incarnation         /* gc_state.incarnation: random there, counted here */
};
Database db;
Database history[LAST_HOUR];
byte hour = 1;               /* what a perfect clock would say */

/* --- the chunk store --------------------------------------------------------------------------- */

bool bytes = true;
byte marker_counter;         /* _mediastore/collector */
byte marker_incarnation;
byte marker_version;         /* what a conditional PUT names */

/* --- ghosts ------------------------------------------------------------------------------------ */

byte incarnations;
byte restores;
bool outside;                /* restored to before the window, and not reconciled since */
byte deletes_under_way;

/* INV-6: a row that is not marked has its bytes: every object reads back, every dedup hit is one. */
#define TRUSTED (!db.row || db.marked || bytes)

proctype Watcher() {
end:
    atomic {
        !outside && !TRUSTED -> assert(TRUSTED)
    }
}

inline copy(to, from) {
    to.row = from.row; to.marked = from.marked; to.unlinked = from.unlinked; to.doomed = from.doomed;
    to.since = from.since; to.claimed = from.claimed; to.counter = from.counter; to.incarnation = from.incarnation
}

/* --- who acts ---------------------------------------------------------------------------------- */

proctype Time() {
end:
    do
    :: atomic { hour < LAST_HOUR -> copy(history[hour], db); hour++ }
    od
}

/* The last reference goes to unlinking (upload_release_v1, garbage_remove_v1), and later it is released: the row
 * goes and its key is doomed (references_release_v3). The clock may be slow. */
proctype Deleter() {
end:
    do
    :: atomic { db.row && db.unlinked == 0 -> db.unlinked = hour }
    :: atomic {
        db.row && db.unlinked != 0 ->
#ifdef WITHOUT_WINDOW_AFTER_THE_ROW
        db.since = db.unlinked;
#else
        if :: db.since = hour :: db.since = hour - SKEW fi;
#endif
        db.row = false; db.marked = false; db.unlinked = 0; db.doomed = true
       }
    od
}

/* Another upload of the same bytes: a hit, or the healing of a row that is marked (batch.py). Without a row it gets a
 * new generation, which is another key, and no concern of this model. */
proctype Uploader() {
end:
    do
#ifndef LIMIT_UPLOADS_BEFORE_RECONCILE
    :: atomic { db.row && db.marked && !outside -> bytes = true; db.marked = false }
#else
    :: atomic { db.row && !db.marked && outside -> assert(bytes) } /* it is acknowledged by this hit */
#endif
    od
}

/* gc/mediastore_gc/marker.py, checked_marker: the marker is read before the database. */
inline check_marker() {
    atomic { said_counter = marker_counter; said_incarnation = marker_incarnation; gone = outside && !TRUSTED };
    atomic {
        if
        :: said_incarnation != db.incarnation -> goto next
#ifndef WITHOUT_COUNTER_CHECK
        :: said_incarnation == db.incarnation && db.counter < said_counter -> goto next /* restored: refuse */
        :: said_incarnation == db.incarnation && db.counter >= said_counter ->
#else
        :: said_incarnation == db.incarnation ->
#endif
            mine = db.incarnation;
            /* A database whose rows lack bytes that collectors have deleted is noticed. */
            assert(!(gone && outside && !TRUSTED))
        fi
    }
}

/* The clock may be fast. */
#define DUE (db.doomed && db.since + WINDOW_KEPT + MARGIN <= hour + SKEW)

/* doomed_claim_v1, with collector_lock_v1. A claim that is not followed by anything times out: claimed again. */
inline claim() {
    atomic {
        if
#ifdef WITHOUT_COUNTER_CHECK
        :: db.incarnation == mine && DUE ->
#else
        :: db.incarnation == mine && db.counter >= said_counter && DUE ->
#endif
            assert(!db.row); /* INV-3 */
            db.claimed = true; db.counter++; counter = db.counter
        :: else -> goto next
        fi
    }
}

/* marker.py, raise_marker: never lowered, and only in its own incarnation. */
inline raise_marker() {
    atomic {
        if
#ifndef WITHOUT_INCARNATION
        :: marker_incarnation != mine -> goto next
        :: marker_incarnation == mine && marker_counter >= counter
        :: marker_incarnation == mine && marker_counter < counter ->
#else
        :: marker_counter >= counter
        :: marker_counter < counter ->
#endif
            marker_counter = counter; marker_version++
        fi;
        deletes_under_way++
    }
}

/* DeleteObjects. The request that was sent may take as long as it likes. */
inline delete() {
    atomic { bytes = false; if :: deletes_under_way > 0 -> deletes_under_way-- :: else fi }
}

inline forget() {
    atomic { if :: db.doomed && db.claimed -> db.doomed = false; db.claimed = false; db.since = 0 :: else fi }
}

/* gc/mediastore_gc/deleting.py, delete_batch. */
proctype Collector() {
    byte batches; byte said_counter; byte said_incarnation; byte mine; byte counter; bool gone;
end:
    do
    :: batches == BATCHES -> break
    :: batches < BATCHES && db.doomed ->
        check_marker();
#ifdef WITHOUT_CLAIM_BEFORE_DELETE
        atomic { if :: db.incarnation == mine && DUE :: else -> goto next fi };
        delete();
        claim();
        raise_marker();
        atomic { deletes_under_way-- };
#else
        claim();
#ifdef WITHOUT_MARKER_BEFORE_DELETE
        delete();
        raise_marker();
        atomic { deletes_under_way-- };
#else
        raise_marker();
        if
        :: delete()
        :: atomic { deletes_under_way--; break } /* a crash: nothing was sent */
        fi;
#endif
#endif
        forget();
next:
        atomic { batches++; said_counter = 0; said_incarnation = 0; mine = 0; counter = 0; gone = false }
    od
}

/* The operator restores. */
proctype Restore() {
    byte moment;
end:
    do
    :: restores < RESTORES && hour > 1 ->
        atomic {
            moment = 1;
            do
            :: moment < hour - 1 -> moment++
            :: break
            od;
            if
            :: hour - moment <= WINDOW -> restores++; copy(db, history[moment])
            :: else -> restores++; copy(db, history[moment]); outside = true
            fi;
            moment = 0
        }
    od
}

/* Every row is checked against the store. No store can be told to forget a delete that was sent to it; so outside of
 * the window those have to be over by now: "stop all collectors first" (operating.md). Who only stalls before
 * raise_marker may stay. Inside the window nothing of the kind is asked. */
#ifdef LIMIT_DELETE_UNDER_WAY
#define DELETES_ARE_OVER true
#else
#define DELETES_ARE_OVER (deletes_under_way == 0 || !outside)
#endif
inline check_rows() {
    atomic { DELETES_ARE_OVER -> if :: db.row && !bytes -> db.marked = true :: else fi }
}

/* The marker gets a new incarnation, so that nobody of before begins another delete. */
inline fence() {
    atomic {
        if
        :: marker_version == read_version ->
            marker_incarnation = new; marker_counter = counter; marker_version++
        :: else -> goto refused
        fi
    }
}

/* gc/mediastore_gc/reconcile.py --apply. */
proctype Reconcile() {
    byte read_version; byte counter; byte instead_of; byte new;
end:
    do
    :: incarnations < RESTORES && restores > 0 ->
        atomic { read_version = marker_version; counter = marker_counter };
        atomic {
            instead_of = db.incarnation;
            if :: db.counter > counter -> counter = db.counter :: else fi;
            incarnations++; new = incarnations
        };
#ifdef WITHOUT_FENCE_BEFORE_CHECK
        check_rows(); fence();
#else
        fence(); check_rows();
#endif
        atomic {
            if
            :: db.incarnation == instead_of ->
                db.incarnation = new; db.claimed = false; outside = false;
                if :: db.counter < counter -> db.counter = counter :: else fi
            :: else
            fi
        };
refused:
        atomic { read_version = 0; counter = 0; instead_of = 0; new = 0 }
    od
}

init {
    atomic {
        db.row = true;
        run Watcher(); run Time(); run Deleter(); run Uploader(); run Collector(); run Collector();
        run Restore(); run Reconcile()
    }
}

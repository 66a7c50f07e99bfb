"""The collector: it gives space back, and would rather keep a byte too many than lose one."""

/* os/notify.h - tells a service manager how the service is.
 *
 * Idea: systemd's sd_notify protocol (sd_notify(3)) is one datagram of lines to the socket named by
 * NOTIFY_SOCKET; without that variable nothing happens.   Threads: any.   Cost: one datagram. */
#ifndef OS_NOTIFY_H
#define OS_NOTIFY_H

#include <stdint.h>

/* "READY=1", "STOPPING=1\nSTATUS=...". Failures are ignored: the manager will notice by itself. */
void os_notify(const char *lines);
/* "RELOADING=1" with the time the protocol asks for; os_notify("READY=1") ends it. */
void os_notify_reloading(uint64_t now_ns);

#endif

// SPDX-License-Identifier: MPL-2.0
/**
 * Handover: what libzmq passes from thread to thread is synchronised by its own atomics, which ThreadSanitizer can't
 * see because Debian's library is not built with it. These two tell it, in such builds only; elsewhere they are
 * nothing.
 */
#ifndef WEFT_NET_HANDOVER_H
#define WEFT_NET_HANDOVER_H

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEFT_HANDOVER_SEEN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define WEFT_HANDOVER_SEEN 1
#endif

#ifdef WEFT_HANDOVER_SEEN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
extern char weft_handover;
static inline void weft_handover_give(void)
{
    __tsan_release(&weft_handover);
} // before a message goes into libzmq
static inline void weft_handover_take(void)
{
    __tsan_acquire(&weft_handover);
} // after one came out of it
#else
static inline void weft_handover_give(void) {}
static inline void weft_handover_take(void) {}
#endif

#endif

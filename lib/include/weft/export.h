// SPDX-License-Identifier: MPL-2.0
/**
 * Which functions libweft.so shows: everything else is hidden (CMAKE_C_VISIBILITY_PRESET).
 */
#ifndef WEFT_EXPORT_H
#define WEFT_EXPORT_H

#define WEFT_EXPORT __attribute__((visibility("default")))
#define WEFT_EXPORT_CHECKED __attribute__((visibility("default"), warn_unused_result))

#endif

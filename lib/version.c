// SPDX-License-Identifier: MPL-2.0
#include <weft/version.h>
#include <weft/weft.h>

const char *weft_version(void)
{
    return WEFT_VERSION_TEXT;
}

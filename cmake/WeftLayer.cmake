# SPDX-License-Identifier: MPL-2.0
# weft_layer(NAME DIR dir DEPS targets...): one static library a folder, linked only downward.
# Every .c in the folder belongs to it; weft_flags carries warnings, sanitizers and definitions for all our code.

add_library(weft_flags INTERFACE)
target_compile_options(weft_flags INTERFACE
    -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
    -Wwrite-strings -Wundef -Wformat=2 -Wvla -Wswitch-enum -Wimplicit-fallthrough -Wno-unused-parameter
    -Wno-format-nonliteral $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> -fno-common)
target_compile_definitions(weft_flags INTERFACE _GNU_SOURCE WEFT_VERSION="${PROJECT_VERSION}"
    $<$<BOOL:${WEFT_ASSERT_SLOW}>:WEFT_ASSERT_SLOW>)
if(WEFT_SANITIZE)
    target_compile_options(weft_flags INTERFACE -fsanitize=${WEFT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(weft_flags INTERFACE -fsanitize=${WEFT_SANITIZE})
endif()
if(WEFT_FUZZ)
    target_compile_options(weft_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

function(weft_layer NAME)
    cmake_parse_arguments(LAYER "" "DIR" "DEPS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${LAYER_DIR}/*.c)
    if(NOT sources)
        add_library(weft_${NAME} INTERFACE)
        target_link_libraries(weft_${NAME} INTERFACE weft_flags ${LAYER_DEPS})
        return()
    endif()
    add_library(weft_${NAME} STATIC ${sources})
    target_include_directories(weft_${NAME} PUBLIC ${PROJECT_SOURCE_DIR}/lib/include ${PROJECT_BINARY_DIR}/generated
        ${PROJECT_BINARY_DIR}/generated/include)
    target_link_libraries(weft_${NAME} PUBLIC weft_flags ${LAYER_DEPS})
    add_dependencies(weft_${NAME} weft_generated)
    if(NAME STREQUAL "base")
        target_sources(weft_base PRIVATE ${WEFT_GENERATED_BASE})
    elseif(NAME STREQUAL "wire")
        target_sources(weft_wire PRIVATE ${WEFT_GENERATED_WIRE})
    endif()
endfunction()

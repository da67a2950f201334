# SPDX-License-Identifier: MPL-2.0
# Installs the build to a fresh prefix, then builds and runs the program beside this file against it, in each way that is offered.
set(prefix ${WEFT_WORK}/prefix)
file(REMOVE_RECURSE ${WEFT_WORK})
file(MAKE_DIRECTORY ${WEFT_WORK})

function(run)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output WORKING_DIRECTORY ${WEFT_WORK})
    if(NOT status EQUAL 0)
        list(JOIN ARGN " " command)
        message(FATAL_ERROR "failed (${status}): ${command}\n${output}")
    endif()
    set(output "${output}" PARENT_SCOPE)
endfunction()

set(flags "-Wall -Wextra -Wpedantic -Werror")
if(WEFT_SANITIZE)
    string(APPEND flags " -fsanitize=${WEFT_SANITIZE}")
endif()

# Only what an outside program needs: the command and its pages are installed by the same rule, but need not be built here.
run(${CMAKE_COMMAND} --install ${WEFT_BUILD}/lib --prefix ${prefix})

# by find_package
set(examples_dir ${WEFT_PROGRAM}/../../../examples)
run(${CMAKE_COMMAND} -G Ninja -S ${WEFT_PROGRAM} -B ${WEFT_WORK}/build -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_C_COMPILER=${WEFT_CC}
    -DCMAKE_C_FLAGS=${flags} -DWEFT_EXAMPLES=${examples_dir})
run(${CMAKE_COMMAND} --build ${WEFT_WORK}/build)
foreach(form shared static)
    run(${WEFT_WORK}/build/outside_${form} ${WEFT_WORK}/data-${form})
    message(STATUS "find_package, ${form}: ${output}")
    run(${WEFT_WORK}/build/outside_test_${form})
endforeach()

# by pkg-config
file(GLOB_RECURSE pc ${prefix}/*/weft.pc)
get_filename_component(pc_dir "${pc}" DIRECTORY)
set(ENV{PKG_CONFIG_PATH} ${pc_dir})
run(pkg-config --cflags --libs weft)
separate_arguments(arguments UNIX_COMMAND "${flags} ${output}")
run(${WEFT_CC} -std=c11 ${WEFT_PROGRAM}/main.c -o ${WEFT_WORK}/outside_pc ${arguments})
get_filename_component(lib_dir "${pc_dir}" DIRECTORY)
set(ENV{LD_LIBRARY_PATH} ${lib_dir})
run(${WEFT_WORK}/outside_pc ${WEFT_WORK}/data-pc)
message(STATUS "pkg-config: ${output}")
run(pkg-config --cflags --libs weft-testing cmocka)
separate_arguments(arguments UNIX_COMMAND "${flags} ${output}")
run(${WEFT_CC} ${examples_dir}/testing/test_consumer.c ${examples_dir}/testing/ledger.c -o ${WEFT_WORK}/outside_test_pc ${arguments})
run(${WEFT_WORK}/outside_test_pc)

# each example as a reader of the docs compiles it: no flags of ours, and of our dependencies none either
foreach(option cflags libs)
    execute_process(COMMAND pkg-config --${option} weft OUTPUT_VARIABLE output OUTPUT_STRIP_TRAILING_WHITESPACE)
    separate_arguments(words UNIX_COMMAND "${output}")
    foreach(word ${words})
        if(NOT word STREQUAL "-lweft" AND NOT word MATCHES "^-[IL].*/prefix/")
            message(FATAL_ERROR "pkg-config --${option} weft names more than this library: ${output}")
        endif()
    endforeach()
    list(APPEND plain ${words})
endforeach()
set(sanitize)
if(WEFT_SANITIZE)
    set(sanitize -fsanitize=${WEFT_SANITIZE})
endif()
file(GLOB examples ${examples_dir}/*.c)
foreach(example ${examples})
    get_filename_component(name ${example} NAME_WE)
    run(${WEFT_CC} ${example} -o ${WEFT_WORK}/example_${name} ${plain} ${sanitize})
endforeach()

# a static program takes what stands behind the library by name
run(pkg-config --cflags --libs --static weft)
foreach(library czmq zmq lz4 zstd)
    if(NOT output MATCHES "-l${library}( |$)")
        message(FATAL_ERROR "pkg-config --static --libs weft lacks -l${library}: ${output}")
    endif()
endforeach()

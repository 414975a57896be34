# The test programs, as in the Makefile; every test case is a test of ctest.
enable_testing()

find_package(Catch2 3 QUIET)
if(NOT Catch2_FOUND)
  find_package(Catch2 2.13 REQUIRED)
endif()
list(APPEND CMAKE_MODULE_PATH ${Catch2_DIR})
include(Catch)

file(GLOB support_sources CONFIGURE_DEPENDS tests/support/*.cc)
file(GLOB sim_sources CONFIGURE_DEPENDS tests/sim/*.cc tests/sim/swarm/*.cc)
list(FILTER sim_sources EXCLUDE REGEX "/main\\.cc$")
# x_test.cc, and beside it what several tests of a directory share.
file(GLOB test_sources CONFIGURE_DEPENDS tests/*/*.cc)
list(FILTER test_sources EXCLUDE REGEX "/tests/(support|sim|stress|bench|kqueue)/")
list(REMOVE_ITEM support_sources ${left_out})
list(REMOVE_ITEM sim_sources ${left_out})
list(REMOVE_ITEM test_sources ${left_out})
# Some tests make certificates.
set(test_libraries warren::warren Catch2::Catch2WithMain $<$<BOOL:${WARREN_TLS}>:BoringSSL::SSL>)

# As in the Makefile: optimising tests costs more time than it saves.
set(warren_test_options ${warren_warnings} -O0 -g1)

# An archive: a test program takes from it only what it uses.
if(support_sources)
  add_library(warren_test_support STATIC ${support_sources})
  set_target_properties(warren_test_support PROPERTIES CXX_EXTENSIONS OFF)
  target_include_directories(warren_test_support PUBLIC src tests)
  target_compile_options(warren_test_support PRIVATE ${warren_test_options})
  target_link_libraries(warren_test_support PUBLIC ${test_libraries})
  set(test_support warren_test_support)
endif()

function(warren_test_program name)
  add_executable(${name} ${ARGN})
  set_target_properties(${name} PROPERTIES CXX_EXTENSIONS OFF)
  target_include_directories(${name} PRIVATE src tests)
  target_compile_options(${name} PRIVATE ${warren_test_options})
  # Catch2 needs exceptions; the tests ask whether the library has them.
  target_compile_definitions(${name} PRIVATE WARREN_LIBRARY_EXCEPTIONS=$<BOOL:${WARREN_EXCEPTIONS}>)
  target_link_libraries(${name} PRIVATE ${test_support} ${test_libraries})
  # From the top, as `make test` runs them: some read files below tests/.
  catch_discover_tests(${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    PROPERTIES TIMEOUT 120 ENVIRONMENT WARREN_EXAMPLES=${PROJECT_BINARY_DIR}/examples)
endfunction()

if(test_sources)
  warren_test_program(warren_tests ${test_sources})
endif()
# tests/sim defines another kernel under the names of os/sys.h and os/poller.h. Its objects come before
# the archive, so the linker never asks the archive for the real one.
if(sim_sources)
  warren_test_program(sim_tests ${sim_sources})
  target_include_directories(sim_tests PRIVATE tests/sim/include)
  file(GLOB swarm_sources CONFIGURE_DEPENDS tests/sim/swarm/*.cc)
  add_executable(warren_swarm EXCLUDE_FROM_ALL ${swarm_sources})
  set_target_properties(warren_swarm PROPERTIES OUTPUT_NAME swarm CXX_EXTENSIONS OFF)
  target_include_directories(warren_swarm PRIVATE src tests)
  target_link_libraries(warren_swarm PRIVATE warren::sim)
  if(WARREN_TLS)
    target_sources(warren_swarm PRIVATE tests/support/certificates.cc)
    target_link_libraries(warren_swarm PRIVATE BoringSSL::SSL)
  endif()
endif()
# Every fuzz target on what is kept in fuzz/corpus, on the same other kernel.
set(sim_kernel ${sim_sources})
list(FILTER sim_kernel EXCLUDE REGEX "_test\\.cc$|/swarm/")
file(GLOB fuzz_sources CONFIGURE_DEPENDS fuzz/*.cc)
list(FILTER fuzz_sources EXCLUDE REGEX "/engine\\.cc$")
list(REMOVE_ITEM fuzz_sources ${left_out})
if(fuzz_sources)
  warren_test_program(fuzz_tests ${fuzz_sources} ${sim_kernel})
endif()

# warren::sim: the library on the simulated kernel of tests/sim, to be linked in the place of
# warren::warren by programs that test a protocol. Built only for who links it; see tests/README.md.
file(GLOB kernel_sources CONFIGURE_DEPENDS tests/sim/*.cc)
list(FILTER kernel_sources EXCLUDE REGEX "_test\\.cc$")
add_library(warren_sim STATIC EXCLUDE_FROM_ALL ${kernel_sources}
  "$<FILTER:$<TARGET_OBJECTS:warren>,EXCLUDE,(os/sys_posix|os/poller_[a-z]+|base/memory)[.]cc>")
add_library(warren::sim ALIAS warren_sim)
set_target_properties(warren_sim PROPERTIES CXX_EXTENSIONS OFF)
target_compile_features(warren_sim PUBLIC cxx_std_20)
target_include_directories(warren_sim
  PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/tests/sim/include
  PRIVATE src)
# Tests have exceptions, whatever the library has.
target_compile_options(warren_sim PRIVATE ${warren_warnings} PUBLIC $<TARGET_PROPERTY:warren,INTERFACE_COMPILE_OPTIONS>)
target_compile_definitions(warren_sim PUBLIC $<TARGET_PROPERTY:warren,INTERFACE_COMPILE_DEFINITIONS>)
target_link_options(warren_sim PUBLIC $<TARGET_PROPERTY:warren,INTERFACE_LINK_OPTIONS>)
if(WARREN_THREADS)
  target_link_libraries(warren_sim PUBLIC Threads::Threads)
endif()
if(WARREN_TLS)
  target_link_libraries(warren_sim PRIVATE BoringSSL::SSL)
endif()

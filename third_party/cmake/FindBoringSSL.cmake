# Finds BoringSSL: the targets BoringSSL::SSL and BoringSSL::Crypto, and BoringSSL_VERSION, which is
# its API version. third_party/find_boringssl does the same for make; installed, this file stands
# beside warrenConfig.cmake. It looks at the first of these that there is:
#   BoringSSL_ROOT, a checkout that was built in <dir>/build, or an install
#   the targets BoringSSL::SSL and BoringSSL::Crypto, or ssl and crypto, of the project around this one
#   Debian's android-libboringssl-dev
# and nowhere else, so that the system's OpenSSL is never taken for it. BoringSSL_LIBRARIES are the
# files, none if they are another project's targets. Nothing is cached: a new BoringSSL_ROOT counts.
include(FindPackageHandleStandardArgs)

set(BoringSSL_INCLUDE_DIR)
set(BoringSSL_VERSION)
set(BoringSSL_LIBRARIES)
set(BoringSSL_SSL)  # a target or a file, as BoringSSL_CRYPTO
set(BoringSSL_CRYPTO)
set(boringssl_root ${BoringSSL_ROOT})
if(NOT boringssl_root)
  set(boringssl_root $ENV{BoringSSL_ROOT})
endif()
if(boringssl_root)
  get_filename_component(boringssl_root ${boringssl_root} ABSOLUTE)
endif()

# --- where to look -------------------------------------------------------------------------------

set(boringssl_hint "BoringSSL_ROOT names a checkout that was built in <dir>/build, or an install")
set(boringssl_places)
set(boringssl_includes)
if(boringssl_root)
  set(boringssl_includes ${boringssl_root}/include)
  set(boringssl_places ${boringssl_root}/lib ${boringssl_root}/lib64 ${boringssl_root}/build)
elseif(TARGET BoringSSL::SSL AND TARGET BoringSSL::Crypto)
  set(BoringSSL_SSL BoringSSL::SSL)
  set(BoringSSL_CRYPTO BoringSSL::Crypto)
elseif(TARGET ssl AND TARGET crypto)
  set(BoringSSL_SSL ssl)
  set(BoringSSL_CRYPTO crypto)
  set(boringssl_hint "these are the targets ssl and crypto of the project around this one")
else()
  set(boringssl_hint "install android-libboringssl-dev, or give BoringSSL_ROOT")
  set(boringssl_includes ${CMAKE_SYSROOT}/usr/include/android)
  set(boringssl_places ${CMAKE_SYSROOT}/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/android)
endif()
foreach(target ${BoringSSL_SSL} ${BoringSSL_CRYPTO})
  get_target_property(boringssl_directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
  string(REGEX REPLACE "\\$<BUILD_INTERFACE:([^>]*)>" "\\1" boringssl_directories "${boringssl_directories}")
  # Old checkouts do not tell the users of their targets where the headers are.
  get_target_property(boringssl_source ${target} SOURCE_DIR)
  list(APPEND boringssl_includes ${boringssl_directories} ${boringssl_source}/include ${boringssl_source}/../include)
endforeach()

# --- the headers ---------------------------------------------------------------------------------

set(boringssl_problem "there is no openssl/ in: ${boringssl_includes}")
foreach(directory ${boringssl_includes})
  if(IS_DIRECTORY ${directory}/openssl)
    set(boringssl_other "not BoringSSL")
    if(EXISTS ${directory}/openssl/base.h)
      # Only BoringSSL has this macro.
      file(STRINGS ${directory}/openssl/base.h boringssl_text REGEX "^#define BORINGSSL_API_VERSION [0-9]+")
      if(boringssl_text MATCHES "([0-9]+)")
        set(BoringSSL_VERSION ${CMAKE_MATCH_1})
        get_filename_component(BoringSSL_INCLUDE_DIR ${directory} ABSOLUTE)
        set(boringssl_problem)
        break()
      endif()
    endif()
    if(EXISTS ${directory}/openssl/opensslv.h)
      # What OpenSSL and LibreSSL call themselves.
      file(STRINGS ${directory}/openssl/opensslv.h boringssl_text REGEX "SSL_VERSION_TEXT[ \t]*\"")
      if(boringssl_text MATCHES "\"([^\"]*)\"")
        set(boringssl_other ${CMAKE_MATCH_1})
      endif()
    endif()
    set(boringssl_problem "${directory}/openssl is ${boringssl_other}")
    break()
  endif()
endforeach()

# --- the libraries -------------------------------------------------------------------------------

# Static ones first; old checkouts keep each in a directory of its own.
if(BoringSSL_INCLUDE_DIR AND NOT BoringSSL_SSL)
  foreach(suffix .a .so .dylib)
    foreach(place ${boringssl_places} ${boringssl_root}/build/ssl)
      foreach(other ${place} ${place}/../crypto)
        if(NOT BoringSSL_SSL AND EXISTS ${place}/libssl${suffix} AND EXISTS ${other}/libcrypto${suffix})
          get_filename_component(BoringSSL_SSL ${place}/libssl${suffix} ABSOLUTE)
          get_filename_component(BoringSSL_CRYPTO ${other}/libcrypto${suffix} ABSOLUTE)
          set(BoringSSL_LIBRARIES ${BoringSSL_SSL} ${BoringSSL_CRYPTO})
        endif()
      endforeach()
    endforeach()
  endforeach()
  if(NOT BoringSSL_SSL)
    set(boringssl_problem "${BoringSSL_INCLUDE_DIR}/openssl is BoringSSL, but there is no libssl with libcrypto in: ${boringssl_places}")
  endif()
endif()

if(boringssl_problem)
  # No semicolons: the message goes through a macro, which would see a list.
  string(REPLACE ";" " " boringssl_problem "${boringssl_problem}")
  string(APPEND boringssl_problem ". Wanted: BoringSSL of API version ${BoringSSL_FIND_VERSION} or newer (${boringssl_hint})")
endif()
find_package_handle_standard_args(BoringSSL
  REQUIRED_VARS BoringSSL_SSL BoringSSL_CRYPTO BoringSSL_INCLUDE_DIR
  VERSION_VAR BoringSSL_VERSION
  REASON_FAILURE_MESSAGE "${boringssl_problem}")

if(BoringSSL_FOUND AND NOT TARGET BoringSSL::SSL)
  find_package(Threads REQUIRED)
  if(BoringSSL_LIBRARIES)
    add_library(BoringSSL::SSL UNKNOWN IMPORTED)
    add_library(BoringSSL::Crypto UNKNOWN IMPORTED)
    set_target_properties(BoringSSL::SSL PROPERTIES IMPORTED_LOCATION ${BoringSSL_SSL})
    set_target_properties(BoringSSL::Crypto PROPERTIES IMPORTED_LOCATION ${BoringSSL_CRYPTO})
  else()
    add_library(BoringSSL::SSL INTERFACE IMPORTED)
    add_library(BoringSSL::Crypto INTERFACE IMPORTED)
    target_link_libraries(BoringSSL::SSL INTERFACE ${BoringSSL_SSL})
    target_link_libraries(BoringSSL::Crypto INTERFACE ${BoringSSL_CRYPTO})
  endif()
  target_link_libraries(BoringSSL::SSL INTERFACE BoringSSL::Crypto)
  target_link_libraries(BoringSSL::Crypto INTERFACE Threads::Threads)
  target_include_directories(BoringSSL::Crypto SYSTEM INTERFACE ${BoringSSL_INCLUDE_DIR})
endif()

// Programs of others that warren talks to in tests. They are not warren's to install: a test leaves
// itself out, and says so, when its peer is missing. With WARREN_PEERS set that is a failure.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>

#include "support/catch.h"

namespace warren::test {

// Where a program is; nothing when it is missing. Servers are often where only root looks; `more` are
// folders to look in besides.
inline std::string peerPath(const std::string& program, const std::string& more = "") {
  const char* path = std::getenv("PATH");
  std::istringstream folders(std::string(path != nullptr ? path : "") + ":/usr/sbin:" + more);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (std::filesystem::exists(folder + "/" + program)) return folder + "/" + program;
  }
  if (std::getenv("WARREN_PEERS") != nullptr) FAIL(program << " is not installed");
  WARN(program << " is not installed: left out (third_party/install peers)");
  return {};
}

}  // namespace warren::test

// The built examples as children of a test. WARREN_EXAMPLES says where they are.
#pragma once

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/child.h"

namespace warren::test {

inline std::string example(const std::string& name) {
  const char* folder = std::getenv("WARREN_EXAMPLES");
  return std::string(folder != nullptr ? folder : "build/examples") + "/" + name;
}

// An example that serves on a port of the kernel's choice.
class Server : public Child {
 public:
  explicit Server(const std::string& name, std::vector<std::string> options = {})
      : Child(commandOf(name, std::move(options))), firstLine_(output().line()) {
    if (firstLine_.empty()) throw std::runtime_error(errors().rest());
  }

  const std::string& firstLine() const { return firstLine_; }
  uint16_t port() const {
    return static_cast<uint16_t>(std::stoi(firstLine_.substr(firstLine_.rfind(':') + 1)));
  }
  // By SIGTERM; gives the exit code.
  int stop() {
    signal(SIGTERM);
    return wait();
  }

 private:
  static std::vector<std::string> commandOf(const std::string& name,
                                            std::vector<std::string> options) {
    options.insert(options.begin(), {example(name), "--port", "0"});
    return options;
  }
  std::string firstLine_;
};

}  // namespace warren::test

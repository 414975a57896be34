// Fd: owns one descriptor.
#pragma once

#include <utility>

#include "os/sys.h"

namespace warren::os {

// Closes its descriptor when it dies. Moves, does not copy. -1 is "none".
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = other.release();
    }
    return *this;
  }

  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  void reset() {
    if (fd_ >= 0) sys::close(release());
  }

 private:
  int fd_ = -1;
};

}  // namespace warren::os

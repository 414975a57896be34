// Lock: for the little that threads share; nothing in builds without them.
#pragma once

#include "warren/config.h"

#if WARREN_THREADS
#include <mutex>
#endif

namespace warren::base {

#if WARREN_THREADS
using Mutex = std::mutex;
#else
struct Mutex {
  void lock() {}
  void unlock() {}
};
#endif

class Lock {
 public:
  explicit Lock(Mutex& mutex) : mutex_(mutex) { mutex_.lock(); }
  ~Lock() { mutex_.unlock(); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace warren::base

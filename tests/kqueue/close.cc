// Takes the place of the C library's close in the test program: with a kqueue goes what is behind it,
// so that tests which count descriptors find none left.
#include <sys/event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <utility>

extern "C" int close(int fd) {
  using namespace kqueue_emulation;
  std::shared_ptr<Queue> queue;  // outlives the lock: it closes descriptors too
  {
    const std::lock_guard lock(queuesMutex);
    if (const auto found = queues.find(fd); found != queues.end()) {
      queue = std::move(found->second);
      queues.erase(found);
    }
  }
  return static_cast<int>(::syscall(SYS_close, fd));
}

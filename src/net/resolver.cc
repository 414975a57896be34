#include "net/resolver.h"

#include <atomic>
#include <deque>

#include "net/mailbox.h"
#include "os/platform.h"
#include "os/resolve.h"

#if WARREN_THREADS
#include <thread>
#endif

namespace warren::net {

// Where answers are left, and questions wait for a thread. It lives as long as anyone may come by.
struct Resolver::Desk {
  explicit Desk(os::Poller& itsPoller) : poller(&itsPoller) {}

  void leave(base::SlotId asker, Result<std::vector<Address>> addresses) {
    mutex.lock();
    answers.push_back({asker, std::move(addresses)});
    hasAnswers.store(true, std::memory_order_release);
    if (poller != nullptr) poller->wake();
    mutex.unlock();
  }

  struct Question {
    std::string host;
    base::SlotId asker;
  };

  Mutex mutex;
  os::Poller* poller;  // null once the reactor is gone
  std::vector<Answer> answers;
  std::atomic<bool> hasAnswers = false;
  std::deque<Question> questions;
  int threads = 0;
};

#if WARREN_THREADS

namespace {

// A name server that does not answer holds one thread for as long as the system's resolver waits.
constexpr int kThreads = 4;

// Answers questions until there are none left.
template <class Desk>
void work(const std::shared_ptr<Desk>& desk) {
  for (;;) {
    desk->mutex.lock();
    if (desk->questions.empty() || desk->poller == nullptr) {
      --desk->threads;
      desk->mutex.unlock();
      return;
    }
    auto question = std::move(desk->questions.front());
    desk->questions.pop_front();
    desk->mutex.unlock();
    desk->leave(question.asker, os::lookUp(question.host, 0));
  }
}

}  // namespace

#endif

Resolver::Resolver(os::Poller& poller, Resolve resolve)
    : desk_(std::make_shared<Desk>(poller)), resolve_(std::move(resolve)) {}

Resolver::~Resolver() {
  desk_->mutex.lock();
  desk_->poller = nullptr;
  desk_->mutex.unlock();
}

void Resolver::ask(const std::string& host, base::SlotId asker) {
  if (resolve_) {
    return resolve_(host, [desk = desk_, asker](Result<std::vector<Address>> addresses) {
      desk->leave(asker, std::move(addresses));
    });
  }
#if WARREN_THREADS
  desk_->mutex.lock();
  desk_->questions.push_back({host, asker});
  const bool another = desk_->threads < kThreads;
  if (another) ++desk_->threads;
  desk_->mutex.unlock();
  if (another) std::thread(work<Desk>, desk_).detach();
#else
  desk_->leave(asker, os::lookUp(host, 0));  // there is no thread to wait on
#endif
}

bool Resolver::hasAnswers() const { return desk_->hasAnswers.load(std::memory_order_acquire); }

std::vector<Resolver::Answer> Resolver::take() {
  std::vector<Answer> answers;
  desk_->mutex.lock();
  answers.swap(desk_->answers);
  desk_->hasAnswers.store(false, std::memory_order_release);
  desk_->mutex.unlock();
  return answers;
}

}  // namespace warren::net

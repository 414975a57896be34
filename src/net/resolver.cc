#include "net/resolver.h"

#include <atomic>
#include <cerrno>
#include <deque>

#include "base/lock.h"
#include "os/platform.h"
#include "os/resolve.h"
#include "os/sys.h"

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

  base::Mutex mutex;
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

template <class Desk>
bool startThread(const std::shared_ptr<Desk>& desk) {
  auto own = std::make_unique<std::shared_ptr<Desk>>(desk);
  const auto body = [](void* argument) {
    const std::unique_ptr<std::shared_ptr<Desk>> its(static_cast<std::shared_ptr<Desk>*>(argument));
    work(*its);
  };
  if (os::sys::startThread(body, own.get()) < 0) return false;
  static_cast<void>(own.release());
  return true;
}

}  // namespace

#endif

Resolver::Resolver(os::Poller& poller, Resolve resolve)
    : desk_(std::make_shared<Desk>(poller)), resolve_(std::move(resolve)) {}

void Resolver::abandon() { desk_->poller = nullptr; }

Resolver::~Resolver() {
  if (desk_->poller == nullptr) return;
  desk_->mutex.lock();
  desk_->poller = nullptr;
  desk_->mutex.unlock();
}

void Resolver::ask(const std::string& host, base::SlotId asker) {
  if (resolve_) return askUser(host, asker);
#if WARREN_THREADS
  desk_->mutex.lock();
  desk_->questions.push_back({host, asker});
  if (desk_->threads < kThreads && startThread(desk_)) ++desk_->threads;
  const bool nobody = desk_->threads == 0;
  if (nobody) desk_->questions.pop_back();
  desk_->mutex.unlock();
  if (nobody)
    desk_->leave(asker, Error(Origin::kernel, EAGAIN, Step::resolve, host + ": no thread"));
#else
  desk_->leave(asker, os::lookUp(host, 0));  // there is no thread to wait on
#endif
}

// A function that throws has still decided: the exception goes its way, and the asker hears of it.
void Resolver::askUser(const std::string& host, base::SlotId asker) {
  struct Refusing {
    ~Refusing() {
      if (desk != nullptr)
        desk->leave(asker, Error(Usage::invalid, Step::resolve, host + ": threw"));
    }
    Desk* desk;
    base::SlotId asker;
    const std::string& host;
  } refusing{desk_.get(), asker, host};
  resolve_(host, [desk = desk_, asker](Result<std::vector<Address>> addresses) {
    desk->leave(asker, std::move(addresses));
  });
  refusing.desk = nullptr;
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

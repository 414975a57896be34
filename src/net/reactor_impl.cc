#include "net/reactor_impl.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "base/check.h"
#include "net/hot_path.h"
#include "net/options.h"

namespace warren::net {

namespace {

constexpr size_t kStoppedListeners = 64;  // whose facts may still be asked

// While one lives the flag is set, also when an exception ends it: memory may run out anywhere.
class Within {
 public:
  explicit Within(bool& flag) : flag_(flag) { flag_ = true; }
  ~Within() { flag_ = false; }
  Within(const Within&) = delete;
  Within& operator=(const Within&) = delete;

 private:
  bool& flag_;
};

Error outOfMemory(Step step, const char* what) { return {Origin::kernel, ENOMEM, step, what}; }

// A budget of nothing would never get anywhere.
ReactorOptions atLeastOne(ReactorOptions options) {
  options.readBudget = std::max<size_t>(options.readBudget, 1);
  options.acceptBudget = std::max<size_t>(options.acceptBudget, 1);
  options.handshakeBudget = std::max<size_t>(options.handshakeBudget, 1);
  return options;
}

}  // namespace

void ReactorImpl::FreeBlock::operator()(std::byte* block) const { std::free(block); }

Result<std::unique_ptr<ReactorImpl>> ReactorImpl::make(ReactorOptions options) {
  if (Result<void> stagger = checkDuration(options.connectStagger, "connectStagger"); !stagger) {
    return stagger.error();
  }
  Result<os::Poller> poller = os::Poller::make();
  if (!poller) return poller.error();
  Block buffer(static_cast<std::byte*>(std::aligned_alloc(kPage, kReceiveBuffer)));
  if (buffer == nullptr) return outOfMemory(Step::start, "receive buffer");
  if (options.maxSockets > base::Slab::kMaxSlots) return outOfMemory(Step::start, "maxSockets");
  return std::unique_ptr<ReactorImpl>(
      new ReactorImpl(std::move(options), std::move(*poller), std::move(buffer)));
}

ReactorImpl::ReactorImpl(ReactorOptions options, os::Poller poller, Block receiveBuffer)
    : options_(atLeastOne(std::move(options))),
      poller_(std::move(poller)),
      timers_(slab_),
      mailbox_(poller_),
      resolver_(poller_, options_.resolve),
      signals_(poller_),
      receiveBuffer_(std::move(receiveBuffer)),
      forkCount_(os::sys::forkCount()) {}

// --- running ---------------------------------------------------------------------------------------

int ReactorImpl::run() {
  if (inTurn_ || depth_ > 0) return 0;
  while (!mailbox_.stopped() && alive()) turn(kForever);
  return mailbox_.takeStop();
}

bool ReactorImpl::step(uint64_t patience) {
  if (!inTurn_ && depth_ == 0) turn(patience);
  return alive();
}

void ReactorImpl::turn(uint64_t patience) {
  checkProcess();
  rethrowUncaught();
  takeTurn(patience);
  rethrowUncaught();
}

void ReactorImpl::takeTurn(uint64_t patience) {
  const Within turn(inTurn_);
  ++stats_.turns;
  if (!flushList_.empty()) flushPending();  // sent between turns
  const std::span<const os::Event> events = poller_.wait(timeToWait(patience));
  const uint64_t begin = os::sys::now();
  const uint64_t workBefore = workDone();
  timers_.expire(begin);
  dispatchEvents(events);
  if (resolver_.hasAnswers()) runAnswers();
  if (readyHead_ != kNone) runReadyList();
  runTimers();
  runSignals();
  if (mailbox_.hasPosted()) runPosted();
  if (!deferred_.empty()) runDeferred();
  if (!flushList_.empty()) flushPending();
  if (!retired_.empty() || !replacedTables_.empty()) sweep();
  if (!drains_.empty()) finishDrains();
  if (stopped_.size() > kStoppedListeners) forgetListeners();
  if (workDone() == workBefore) ++stats_.idleTurns;
  longestTurn_ = std::max(longestTurn_, os::sys::now() - begin);
}

int64_t ReactorImpl::timeToWait(uint64_t patience) const {
  if (workLeft()) return 0;
  const uint64_t wait = std::min(patience, timers_.untilNext().value_or(kForever));
  return wait == kForever ? -1 : static_cast<int64_t>(std::min<uint64_t>(wait, INT32_MAX));
}

void ReactorImpl::dispatchEvents(std::span<const os::Event> events) {
  stats_.events += events.size();
  for (const os::Event& event : events) {
    base::Slot* slot = slab_.find(slotOf(event.token));
    const bool ofSocket = slot != nullptr && partOf(event.token) == kSocketPart;
    if (!ofSocket || !static_cast<Connection*>(slot)->onInput(event)) dispatchEvent(slot, event);
  }
}

// Any event, with the slot that its token finds.
void ReactorImpl::dispatchEvent(base::Slot* slot, const os::Event& event) {
  const Part part = partOf(event.token);
  // Others may hold a descriptor that we have closed: then its slot may be closed too, even swept.
  const bool ofSocket = part < kListenerPart;
  if (slot == nullptr || (ofSocket && static_cast<Connection*>(slot)->state() == State::closed)) {
    ++stats_.staleEvents;
  } else if (part == kSocketPart) {
    static_cast<Connection*>(slot)->onReady(event);
  } else if (ofSocket) {
    static_cast<Connection*>(slot)->onAttemptReady(part);
  } else {
    static_cast<Listener*>(slot)->onReady(part - kListenerPart);
  }
}

void ReactorImpl::runAnswers() {
  for (Resolver::Answer& answer : resolver_.take()) {
    Connection* socket = findConnection(answer.asker);
    if (socket != nullptr) socket->onAddresses(std::move(answer.addresses));
  }
}

// Only those that were on the list when it began: who goes on the list meanwhile waits a turn, so that
// nobody starves the poller.
void ReactorImpl::runReadyList() {
  uint32_t at = std::exchange(readyHead_, kNone);
  readyTail_ = kNone;
  handshakesLeft_ = options_.handshakeBudget;
  while (at != kNone) {
    auto* socket = static_cast<Connection*>(slab_.at(at));
    at = socket->links_.nextReady;
    ++stats_.readyRuns;
    socket->clear(Connection::kOnReadyList);
    socket->onWorkLeft();
  }
}

void ReactorImpl::runTimers() {
  while (TimerSlot* timer = timers_.next()) {
    ++stats_.timersFired;
    runTimer(*timer);
  }
}

void ReactorImpl::runTimer(TimerSlot& timer) {
  switch (timer.kind) {
    case TimerKind::task: {
      const Callback<> task = timer.task;  // keeps it alive, should it cancel its own timer
      if (timer.period > 0) {
        timers_.repeat(timer);
      } else {
        cancelTask(timer);
      }
      return dispatch(nullptr, task);
    }
    case TimerKind::socketTimeout:
      return static_cast<Connection*>(slab_.at(timer.owner))->onTimeout();
    case TimerKind::socketDeadline:
      return static_cast<Connection*>(slab_.at(timer.owner))->onDeadline();
    case TimerKind::dialStagger:
      return static_cast<Connection*>(slab_.at(timer.owner))->onStagger();
    case TimerKind::acceptRetry:
      return static_cast<Listener*>(slab_.at(timer.owner))->onRetryTime();
    case TimerKind::handshakeHurry:
      return static_cast<Listener*>(slab_.at(timer.owner))->onHurryTime();
  }
}

void ReactorImpl::runSignals() {
  const uint64_t arrived = signals_.take();
  if (arrived == 0) return;
  for (size_t signal = 1; signal < signalHandlers_.size(); ++signal) {
    const Callback<> handler = signalHandlers_[signal];
    if ((arrived >> signal & 1) != 0 && handler) dispatch(nullptr, handler);
  }
}

void ReactorImpl::runPosted() {
  mailbox_.take(running_);
  runAll();
}

// What is deferred by a deferred function still belongs to the end of this turn.
void ReactorImpl::runDeferred() {
  while (!deferred_.empty()) {
    running_.swap(deferred_);
    runAll();
  }
}

void ReactorImpl::runAll() {
  stats_.functionsRun += running_.size();
  for (const Callback<>& function : running_) dispatch(nullptr, function);
  running_.clear();
}

// Grows with everything a turn can do.
uint64_t ReactorImpl::workDone() const {
  return stats_.events + stats_.readyRuns + stats_.timersFired + stats_.functionsRun + swept_;
}

void ReactorImpl::sweep() {
  sweeping_.swap(retired_);
  swept_ += sweeping_.size();
  for (Connection* socket : sweeping_) {
    if (socket->has(Connection::kOnReadyList | Connection::kOnFlushList)) {
      retired_.push_back(socket);  // still linked: the next sweep
    } else if (socket->release()) {
      slab_.give(*socket);
      --sockets_;
    }
  }
  sweeping_.clear();
  const auto tables = std::exchange(replacedTables_, {});
}

// What a handler called from here sends goes on the same list: this loop grows, the stack does not.
void ReactorImpl::flushPending() {
  if (std::exchange(flushing_, true)) return;
  for (size_t at = 0; at < flushList_.size(); ++at) {  // it may grow meanwhile
    Connection* socket = flushList_[at];
    socket->clear(Connection::kOnFlushList);
    socket->flushQueued();
  }
  flushList_.clear();
  flushing_ = false;
}

bool ReactorImpl::workLeft() const {
  return readyHead_ != kNone || !flushList_.empty() || !retired_.empty() || !deferred_.empty() ||
         mailbox_.hasPosted() || !uncaught_.empty() || (!drains_.empty() && drainDone());
}

bool ReactorImpl::drainDone() const {
  return std::any_of(drains_.begin(), drains_.end(),
                     [](const auto& drain) { return drain->finished(); });
}

bool ReactorImpl::alive() const { return references_ > 0 || workLeft(); }

std::optional<uint64_t> ReactorImpl::nextDeadline() const {
  return workLeft() ? 0 : timers_.untilNext();
}

bool ReactorImpl::inChild() const { return os::sys::forkCount() != forkCount_; }

void ReactorImpl::checkProcess() const {
  if (inChild()) {
    base::fatal("a reactor was used in a child of the process that made it; make another one");
  }
}

// A destructor of the user's may be at work in ours.
Result<void> ReactorImpl::checkAlive() const {
  if (!ending_) return {};
  return Error(Usage::closed, Step::options, "the reactor is being destroyed");
}

// --- the user's code -------------------------------------------------------------------------------

#if WARREN_EXCEPTIONS

namespace {

std::string describe(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& known) {
    return known.what();
  } catch (...) {
    return "something that is no std::exception";
  }
}

}  // namespace

void ReactorImpl::handlerThrew(Connection* socket) {
  std::exception_ptr exception = std::current_exception();
  if (socket == nullptr || !socket->cell().table->error) {
    uncaught_.push_back(std::move(exception));
    return;
  }
  try {
    const Error error = Error::thrown(exception, describe(exception));
    socket->cell().table->error(socket->handle(), error);
  } catch (...) {
    uncaught_.push_back(std::current_exception());
  }
}

void ReactorImpl::rethrowUncaught() {
  if (uncaught_.empty()) return;
  const std::exception_ptr first = uncaught_.front();
  uncaught_.erase(uncaught_.begin());
  std::rethrow_exception(first);
}

#else

void ReactorImpl::handlerThrew(Connection*) {}
void ReactorImpl::rethrowUncaught() {}

#endif

void ReactorImpl::defer(Callback<> function) {
  if (function && !ending_) deferred_.push_back(std::move(function));
}

Result<TimerSlot*> ReactorImpl::startTask(uint64_t delay, uint64_t period, Callback<> task) {
  if (Result<void> alive = checkAlive(); !alive) return alive.error();
  TimerSlot* timer = timers_.start(TimerKind::task, kNone, delay);
  if (timer == nullptr) return outOfMemory(Step::timeout, "timer");
  timer->period = period;
  timer->task = std::move(task);
  timer->referenced = true;
  addReference();
  return timer;
}

void ReactorImpl::cancelTask(TimerSlot& timer) {
  if (timer.referenced) dropReference();
  timers_.cancel(timer);
}

Result<void> ReactorImpl::onSignal(int signal, Callback<> function) {
  if (Result<void> alive = checkAlive(); !alive) return alive;
  if (function) {
    if (Result<void> watched = signals_.watch(signal); !watched) return watched;
    signalHandlers_[static_cast<size_t>(signal)] = std::move(function);
  } else if (signal > 0 && static_cast<size_t>(signal) < signalHandlers_.size()) {
    signals_.unwatch(signal);
    signalHandlers_[static_cast<size_t>(signal)] = {};
  }
  return {};
}

// --- sockets ---------------------------------------------------------------------------------------

// Two that share a descriptor would take each other's connections, and close it under each other.
bool ReactorImpl::listensOn(int fd) {
  for (const HandlerCell* cell = cells_; cell != nullptr; cell = cell->next) {
    const Listener* listener = findListener(cell->listener);
    if (listener == nullptr) continue;
    const std::vector<int> its = listener->descriptors();
    if (std::find(its.begin(), its.end(), fd) != its.end()) return true;
  }
  return false;
}

// The same for two sockets, and for a socket and a listener.
bool ReactorImpl::holds(int fd) {
  for (const HandlerCell* cell = cells_; cell != nullptr; cell = cell->next) {
    for (uint32_t at = cell->firstSocket; at != kNone;) {
      const auto* socket = static_cast<Connection*>(slab_.at(at));
      if (socket->holds(fd)) return true;
      at = socket->nextInCell();
    }
  }
  return listensOn(fd);
}

Result<Listener*> ReactorImpl::listen(detail::ListenRequest request) {
  if (Result<void> alive = checkAlive(); !alive) return alive.error();
  if (Result<void> checked = checkOptions(request); !checked) return checked.error();
  if (request.fd && listensOn(*request.fd)) {
    return Error(Usage::conflict, Step::options,
                 "fd " + std::to_string(*request.fd) + " is another listener's");
  }
  Result<SharedTls> tls = listenerTls(request.tls);
  if (!tls) return tls.error();
  if (Result<void> prepared = prepareTls(tls->get()); !prepared) return prepared.error();
  if (Result<void> room = makeRoom(request.socket); !room) return room.error();
  base::Slot* slot = slab_.take(sizeof(Listener), alignof(Listener));
  if (slot == nullptr) return outOfMemory(Step::listen, "listener");
  Result<Binding> binding = bindEndpoints(request);
  if (!binding) {
    slab_.give(*slot);
    return binding.error();
  }
  const base::SlotId id = slot->id();
  HandlerCell* cell = makeCell(std::move(request.socket), id);
  cell->tls = std::move(*tls);
  auto* listener =
      ::new (static_cast<void*>(slot)) Listener(id, *this, *cell, std::move(*binding), request);
  addReference();
  Result<void> started = listener->start(request.fd.has_value());
  if (!started) return started.error();
  return listener;
}

Result<Connection*> ReactorImpl::connect(detail::ConnectRequest request) {
  if (Result<void> alive = checkAlive(); !alive) return alive.error();
  if (Result<void> checked = checkOptions(request); !checked) return checked.error();
  if (std::any_of(drains_.begin(), drains_.end(), [](auto& drain) { return drain->overdue(); })) {
    return Error(Usage::closed, Step::options, "the reactor has drained");
  }
  if (request.fd && holds(*request.fd)) {
    return Error(Usage::conflict, Step::options,
                 "fd " + std::to_string(*request.fd) + " is another socket's or listener's");
  }
  Result<SharedTls> tls = dialedTls(request.tls, request.hostname);
  if (!tls) return tls.error();
  if (Result<void> prepared = prepareTls(tls->get()); !prepared) return prepared.error();
  if (Result<void> room = makeRoom(request.socket); !room) return room.error();
  HandlerCell* cell = makeCell(std::move(request.socket), {});
  cell->tls = std::move(*tls);
  cell->host = request.hostname;
  Result<Connection*> socket = makeConnection(*cell);
  releaseCell(*cell);  // from here on it is the socket's
  if (!socket) return socket.error();
  if (Result<void> dialing = (*socket)->dial(std::move(request)); !dialing) return dialing.error();
  return *socket;
}

Result<void> ReactorImpl::upgrade(Connection& socket, const TlsOptions& options, Bytes leftover) {
  const bool accepted = socket.cell().listener != base::SlotId();
  Result<SharedTls> tls = accepted ? listenerTls(options) : dialedTls(options, socket.cell().host);
  if (!tls) return tls.error();
  if (Result<void> prepared = prepareTls(tls->get()); !prepared) return prepared;
  return socket.upgrade(*tls, leftover);
}

Result<void> ReactorImpl::prepareTls(const TlsPolicy* policy) {
  if (policy == nullptr || plainBuffer_ != nullptr) return {};
  plainBuffer_.reset(static_cast<std::byte*>(std::aligned_alloc(kPage, kReceiveBuffer)));
  if (plainBuffer_ == nullptr) return outOfMemory(Step::start, "plaintext buffer");
  return {};
}

// Not at the start: slots of another size than these sockets turn out to have would be of no use.
Result<void> ReactorImpl::makeRoom(const detail::SocketRequest& request) {
  const uint32_t kind = slotKindOf(slab_, *request.dataType);
  if (!slab_.reserve(kind, options_.maxSockets)) return outOfMemory(Step::socket, "socket slots");
  return {};
}

HandlerCell* ReactorImpl::makeCell(detail::SocketRequest request, base::SlotId listener) {
  auto* cell = new HandlerCell(*this, std::move(request), listener);
  cell->references = 1;
  cell->next = cells_;
  if (cells_ != nullptr) cells_->prev = cell;
  cells_ = cell;
  return cell;
}

void ReactorImpl::releaseCell(HandlerCell& cell) {
  WARREN_CHECK(cell.references > 0);
  if (--cell.references > 0) return;
  WARREN_CHECK(cell.firstSocket == kNone);
  if (Listener* listener = findListener(cell.listener)) listener->leaveCell();
  stats_.bytesRead += cell.bytesRead;
  stats_.bytesWritten += cell.bytesWritten;
  (cell.prev != nullptr ? cell.prev->next : cells_) = cell.next;
  if (cell.next != nullptr) cell.next->prev = cell.prev;
  delete &cell;
}

Result<void> ReactorImpl::reload(HandlerCell& cell, HandlerTable table) {
  if (Result<void> checked = checkHandlers(table); !checked) return checked;
  auto fresh = std::make_unique<HandlerTable>(std::move(table));
  cell.table.swap(fresh);
  replacedTables_.push_back(std::move(fresh));
  return {};
}

Result<Connection*> ReactorImpl::makeConnection(HandlerCell& cell) {
  base::Slot* slot = slab_.take(cell.slotKind);
  if (slot == nullptr) return outOfMemory(Step::socket, "socket slot");
  auto* socket = ::new (static_cast<void*>(slot)) Connection(slot->id(), cell);
  addReference();
  ++sockets_;
#if WARREN_EXCEPTIONS
  try {
    socket->constructData();
  } catch (...) {
    socket->abandon();
    const std::exception_ptr exception = std::current_exception();
    return Error::thrown(exception, "copying the option `data`: " + describe(exception));
  }
#else
  socket->constructData();
#endif
  if (socket->state() == State::connecting) return socket;
  return Error(Usage::closed, Step::socket, "it was closed while the option `data` was copied");
}

void ReactorImpl::ready(Connection& socket) {
  if (socket.has(Connection::kOnReadyList)) return;
  socket.set(Connection::kOnReadyList);
  socket.links_.nextReady = kNone;
  if (readyTail_ == kNone) {
    readyHead_ = socket.index;
  } else {
    static_cast<Connection*>(slab_.at(readyTail_))->links_.nextReady = socket.index;
  }
  readyTail_ = socket.index;
}

bool ReactorImpl::takeHandshakeStep() {
  if (handshakesLeft_ == 0) return false;
  --handshakesLeft_;
  return true;
}

void ReactorImpl::flushLater(Connection& socket) {
  if (socket.has(Connection::kOnFlushList)) return;
  socket.set(Connection::kOnFlushList);
  flushList_.push_back(&socket);
}

void ReactorImpl::retire(Connection& socket) {
  if (socket.has(Connection::kRetired)) return;
  socket.set(Connection::kRetired);
  retired_.push_back(&socket);
}

void ReactorImpl::retire(Listener& listener) { stopped_.push_back(&listener); }

// A stopped listener may still be asked for its port; the oldest of many make room.
void ReactorImpl::forgetListeners() {
  const size_t excess = stopped_.size() - std::min(stopped_.size(), kStoppedListeners);
  for (size_t at = 0; at < excess; ++at) {
    stopped_[at]->forget();
    slab_.give(*stopped_[at]);
  }
  stopped_.erase(stopped_.begin(), stopped_.begin() + static_cast<std::ptrdiff_t>(excess));
}

void ReactorImpl::dropReference() {
  WARREN_CHECK(references_ > 0);
  --references_;
}

Stats ReactorImpl::snapshot() const {
  Stats now = stats_;
  for (const HandlerCell* cell = cells_; cell != nullptr; cell = cell->next) {
    now.bytesRead += cell->bytesRead;
    now.bytesWritten += cell->bytesWritten;
  }
  now.queuedBytes = colds_.queued();
  now.sockets = sockets_;
  now.slots = slab_.slotsInUse();
  now.longestTurn = std::chrono::nanoseconds(longestTurn_);
  now.memoryBytes = slab_.memory();
  return now;
}

}  // namespace warren::net

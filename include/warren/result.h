// Errors are values: `Error` says what failed and why, `Result<T>` is a value or an error.
#pragma once

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace warren {

// Who produced an error's code.
enum class Origin : uint8_t {
  none,      // no error
  usage,     // the caller: code is a `Usage`
  kernel,    // a system call: code is an errno
  resolver,  // a name look-up: code is an EAI_ number of getaddrinfo(3)
  tls,       // TLS: code is an alert, a verify code or a reason of BoringSSL: ask for its name()
  handler,   // a handler of the user threw, or copying its data: see Error::exception()
};

// What was being done when it failed.
enum class Step : uint8_t {
  none,
  start,    // making a reactor
  options,  // checking what the caller gave
  resolve,  // looking a name up
  socket,   // making or adopting a descriptor
  bind,
  listen,
  accept,
  connect,
  read,
  write,
  shutdown,  // finishing one direction
  linger,    // waiting for the peer after `end` or `close`
  timeout,   // the socket's own timeout
  proxy,     // reading or sending a PROXY protocol header
  handshake,
  handler,  // running a handler of the user
  signal,   // watching a signal
};

// Codes of Origin::usage.
enum class Usage : int {
  invalid = 1,  // a value that can mean nothing here
  outOfRange,   // a number beyond its limits
  missing,      // something required was not given
  conflict,     // two things that exclude each other
  closed,       // the socket, listener or timer is gone
  ended,        // writing after the end
  tooMuch,      // more than a limit allows (`maxQueued`, a linger cap)
  unsupported,  // not in this build or on this system
};

// What went wrong: origin, code and step, and in `message()` the option, value and reason in words.
// A default-constructed Error is "no error" and is false.
class Error {
 public:
  Error() = default;
  Error(Origin origin, int code, Step step, std::string detail = {})
      : detail_(std::move(detail)), code_(code), origin_(origin), step_(step) {}
  Error(Usage code, Step step, std::string detail)
      : Error(Origin::usage, static_cast<int>(code), step, std::move(detail)) {}

  // What a handler threw, ready for std::rethrow_exception. `detail` is its what().
  static Error thrown(std::exception_ptr exception, std::string detail);

  explicit operator bool() const { return origin_ != Origin::none; }

  Origin origin() const { return origin_; }
  Step step() const { return step_; }
  int code() const { return code_; }
  bool is(Usage code) const { return origin_ == Origin::usage && code_ == static_cast<int>(code); }
  bool isErrno(int number) const { return origin_ == Origin::kernel && code_ == number; }

  // Empty unless origin() is Origin::handler.
  const std::exception_ptr& exception() const { return exception_; }

  // The code's name: "ECONNRESET", "EAI_NONAME", "outOfRange", ...; "E<number>" when it has none.
  std::string name() const;

  // One line for people: step, detail, name and meaning, such as
  // "bind: 127.0.0.1:80: EACCES (Permission denied)". Empty when there is no error.
  std::string message() const;

 private:
  std::string detail_;
  std::exception_ptr exception_;
  int code_ = 0;
  Origin origin_ = Origin::none;
  Step step_ = Step::none;
};

// The name of a step as messages show it: "connect", "read", ...
std::string_view stepName(Step step);

// What Result::value() throws when there is no value.
class BadResult : public std::runtime_error {
 public:
  explicit BadResult(Error error) : std::runtime_error(error.message()), error_(std::move(error)) {}
  const Error& error() const { return error_; }

 private:
  Error error_;
};

namespace detail {
// Throws BadResult; in builds without exceptions prints the message and aborts.
[[noreturn]] void refuse(const Error& error);
}  // namespace detail

// A value, or the error that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state_.index() == 0; }

  // The value. Without one: throws BadResult, or aborts with the message where exceptions are off.
  T& value() & {
    if (!*this) detail::refuse(error());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    if (!*this) detail::refuse(error());
    return *std::get_if<0>(&state_);
  }
  T value() && {
    if (!*this) detail::refuse(error());
    return std::move(*std::get_if<0>(&state_));
  }

  // The value of a result that was checked. Undefined without one.
  T& operator*() & { return *std::get_if<0>(&state_); }
  T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
  const T& operator*() const& { return *std::get_if<0>(&state_); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }

  // The error; "no error" when there is a value.
  const Error& error() const {
    static const Error none;
    return *this ? none : *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return !error_; }
  void value() const {
    if (error_) detail::refuse(error_);
  }
  const Error& error() const { return error_; }

 private:
  Error error_;
};

}  // namespace warren

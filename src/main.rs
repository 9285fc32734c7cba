//! The program: everything is in the library.

fn main() -> std::process::ExitCode {
    pg_migrator::cli::main(std::env::args_os())
}
